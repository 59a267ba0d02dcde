//! Exceptions: thrown under conditions, and caught by handlers of both forms.

use super::Signature;
use super::body::Body;
use std::borrow::Cow;
use wasm_encoder::{BlockType, Catch, Instruction, RefType, ValType};

/// What exceptions carry, by tag.
pub(super) const TAGS: [&[ValType]; 3] =
    [&[ValType::I32], &[ValType::I64, ValType::F64, ValType::F32], &[]];

/// The type of a tag.
pub(super) fn signature_of_tag(tag: u32) -> Signature {
    Signature { params: TAGS[tag as usize].to_vec(), results: Vec::new() }
}

impl Body<'_, '_> {
    fn tag(&mut self) -> u32 {
        self.choices.below(TAGS.len() as u32)
    }

    /// Perhaps throws.
    pub(super) fn throw(&mut self) {
        self.expression(ValType::I32);
        self.emit(Instruction::I32Const(3));
        self.emit(Instruction::I32And);
        self.emit(Instruction::I32Eqz);
        self.emit(Instruction::If(BlockType::Empty));
        self.labels.push(None);
        let tag = self.tag();
        for &ty in TAGS[tag as usize] {
            self.expression(ty);
        }
        self.emit(Instruction::Throw(tag));
        self.end();
    }

    /// What a handler does with values that it was given.
    fn take(&mut self, types: &[ValType]) {
        for &ty in types.iter().rev() {
            let local = self.local(ty);
            self.emit(Instruction::LocalSet(local));
        }
    }

    /// What may throw, and then gives a value.
    fn risk(&mut self, ty: ValType) {
        self.statement();
        self.throw();
        self.expression(ty);
    }

    /// Pushes a value that handlers have part in.
    pub(super) fn guarded(&mut self, ty: ValType) {
        match self.choices.below(5) {
            0..=2 => self.try_table(ty),
            3 => self.legacy_try(ty),
            _ => self.delegating_try(ty),
        }
    }

    fn try_table(&mut self, ty: ValType) {
        let tag = self.tag();
        let (label, by_ref) = (0, self.choices.one_in(2));
        let is_named = !self.choices.one_in(3);
        let catch = match (is_named, by_ref) {
            (true, false) => Catch::One { tag, label },
            (true, true) => Catch::OneRef { tag, label },
            (false, false) => Catch::All { label },
            (false, true) => Catch::AllRef { label },
        };
        let carried: &[ValType] = if is_named { TAGS[tag as usize] } else { &[] };
        let mut given = carried.to_vec();
        if by_ref {
            given.push(ValType::Ref(RefType::EXNREF));
        }
        let handler = self.type_of(Vec::new(), given);
        self.emit(Instruction::Block(BlockType::Result(ty)));
        self.labels.push(Some(vec![ty]));
        self.emit(Instruction::Block(BlockType::FunctionType(handler)));
        self.labels.push(None);
        self.emit(Instruction::TryTable(BlockType::Result(ty), Cow::Owned(vec![catch])));
        self.labels.push(Some(vec![ty]));
        self.risk(ty);
        self.end();
        self.emit(Instruction::Br(1));
        self.end();
        if by_ref {
            let exception = self.exception_local();
            self.emit(Instruction::LocalSet(exception));
            self.take(carried);
            self.statement();
            if self.choices.one_in(3) {
                self.expression(ValType::I32);
                self.emit(Instruction::If(BlockType::Empty));
                self.labels.push(None);
                self.emit(Instruction::LocalGet(exception));
                self.emit(Instruction::ThrowRef);
                self.end();
            }
        } else {
            self.take(carried);
        }
        self.expression(ty);
        self.end();
    }

    fn legacy_try(&mut self, ty: ValType) {
        self.emit(Instruction::Try(BlockType::Result(ty)));
        self.labels.push(Some(vec![ty]));
        self.risk(ty);
        let tag = self.tag();
        self.emit(Instruction::Catch(tag));
        self.take(TAGS[tag as usize]);
        self.legacy_handler(ty);
        if self.choices.one_in(2) {
            self.emit(Instruction::CatchAll);
            self.legacy_handler(ty);
        }
        self.end();
    }

    fn legacy_handler(&mut self, ty: ValType) {
        self.statement();
        if self.choices.one_in(2) {
            self.expression(ValType::I32);
            self.emit(Instruction::If(BlockType::Empty));
            self.labels.push(None);
            self.emit(Instruction::Rethrow(1));
            self.end();
        }
        self.expression(ty);
    }

    fn delegating_try(&mut self, ty: ValType) {
        let depth = self.choices.below(self.labels.len() as u32);
        self.emit(Instruction::Try(BlockType::Result(ty)));
        self.labels.push(Some(vec![ty]));
        self.risk(ty);
        self.emit(Instruction::Delegate(depth));
        self.labels.pop();
    }
}
