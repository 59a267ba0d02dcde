//! Identities of function types: equal types have equal numbers in the whole engine.
//!
//! A number means its type for as long as somebody holds the [`Signature`] that it came with: modules hold those
//! of their types, host functions their own. Numbers that nobody holds are given out again, so that an engine
//! which sees ever new types, one module after the other, does not grow.

use midair_osr::CallShape;
use midair_tiers::{FuncType, ValType};
use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A function type as the engine knows it.
#[derive(Debug)]
pub(crate) struct Signature {
    pub(crate) ty: FuncType,
    pub(crate) shape: CallShape,
    /// 64-bit slots that a call needs: parameters or results, whichever is more.
    pub(crate) slots: usize,
    /// Its identity.
    pub(crate) number: u32,
}

/// A signature that is found by its type, of which there is no other copy.
struct ByType(Arc<Signature>);

impl Borrow<FuncType> for ByType {
    fn borrow(&self) -> &FuncType {
        &self.0.ty
    }
}

impl Hash for ByType {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.ty.hash(state);
    }
}

impl PartialEq for ByType {
    fn eq(&self, other: &ByType) -> bool {
        self.0.ty == other.0.ty
    }
}

impl Eq for ByType {}

/// Below this many signatures nobody looks for unused ones.
const FIRST_SWEEP: usize = 1024;

/// The signatures of an engine.
#[derive(Default)]
pub(crate) struct Signatures {
    by_type: HashSet<ByType>,
    signatures: Vec<Option<Arc<Signature>>>,
    free: Vec<u32>,
    /// Number of signatures at which unused ones are looked for.
    sweep_at: usize,
}

impl Signatures {
    /// The signature of a type.
    pub(crate) fn intern(&mut self, ty: &FuncType) -> Arc<Signature> {
        if let Some(known) = self.by_type.get(ty) {
            return known.0.clone();
        }
        if self.by_type.len() >= self.sweep_at.max(FIRST_SWEEP) {
            self.sweep();
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.signatures.push(None);
            u32::try_from(self.signatures.len() - 1).expect("fewer than 2^32 signatures")
        });
        let slots = |types: &[ValType]| -> usize { types.iter().map(|ty| ty.kind().slots()).sum() };
        let signature = Arc::new(Signature {
            ty: ty.clone(),
            shape: midair_tiers::abi::call_shape(ty),
            slots: slots(&ty.params).max(slots(&ty.results)),
            number,
        });
        self.signatures[number as usize] = Some(signature.clone());
        self.by_type.insert(ByType(signature.clone()));
        signature
    }

    /// The signature of this number, which somebody must hold.
    pub(crate) fn get(&self, number: u32) -> Arc<Signature> {
        self.signatures[number as usize].clone().expect("a number that is in use")
    }

    /// Forgets all signatures that nobody holds. The next sweep waits until there are twice as many as are
    /// left, so that a sweep costs each new signature a constant amount of work.
    fn sweep(&mut self) {
        for slot in &mut self.signatures {
            // Only this table hands counts out, and it is borrowed: a count of its own two stays two.
            if let Some(unused) = slot.take_if(|signature| Arc::strong_count(signature) == 2) {
                self.by_type.remove(&unused.ty);
                self.free.push(unused.number);
            }
        }
        self.sweep_at = 2 * self.by_type.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `n`th of very many types.
    fn ty(n: usize) -> FuncType {
        let bit = |i: usize| if n >> i & 1 == 1 { ValType::I64 } else { ValType::I32 };
        FuncType::new((0..20).map(bit), [])
    }

    #[test]
    fn numbers_that_nobody_holds_are_given_out_again() {
        let mut table = Signatures::default();
        let held: Vec<_> = (0..2000).map(|n| table.intern(&ty(n))).collect();
        for n in 2000..100_000 {
            table.intern(&ty(n));
        }
        assert!(table.signatures.len() <= 4001, "{}", table.signatures.len());
        for (n, signature) in held.iter().enumerate() {
            assert_eq!(table.get(signature.number).ty, ty(n));
            assert_eq!(table.intern(&ty(n)).number, signature.number);
        }
    }
}
