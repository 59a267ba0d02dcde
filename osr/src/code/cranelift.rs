//! What Cranelift is told before it compiles managed code, and from its compiled code to a code description.

use crate::code::code_object::CodeDescription;
use crate::code::frame_map::{FrameMap, FrameMapTable, FrameValue, Location, SiteKind, ValueKind};
#[cfg(feature = "verify-walks")]
use crate::code::unwind_table::UnwindTable;
use cranelift_codegen::isa::unwind::UnwindInst;
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CompiledCode, ExceptionContextLoc, FinalizedMachExceptionHandler};
use smallvec::SmallVec;
use std::collections::HashMap;

/// The settings of Cranelift that managed code is compiled with, and why. All others are the language's own choice.
const NEEDED: [(&str, &str); 4] = [
    // Says where callee-saved registers are: transfers restore them.
    ("unwind_info", "true"),
    // Walks of the stack follow them.
    ("preserve_frame_pointers", "true"),
    // Would call a function outside the code. Functions compare the stack pointer with a limit instead.
    ("enable_probestack", "false"),
    // Addresses within the code are relative all the same, and it names nothing outside itself.
    ("is_pic", "false"),
];

/// Cranelift's settings as managed code needs them, to which a language adds its own: `opt_level` and
/// `regalloc_algorithm`, for example. What is set here must stay as it is.
pub fn flags() -> settings::Builder {
    let mut flags = settings::builder();
    for (name, value) in NEEDED {
        flags.set(name, value).expect("this version of Cranelift has the setting");
    }
    flags
}

/// Cranelift's code generator for this processor, with these settings: see [`flags`]. Fails if a setting that managed
/// code needs was changed, or if this processor is not supported.
pub fn code_generator(flags: settings::Builder) -> Result<OwnedTargetIsa, CodeGeneratorError> {
    let flags = settings::Flags::new(flags);
    check_flags(&flags).map_err(CodeGeneratorError)?;
    let builder =
        cranelift_native::builder().map_err(|reason| CodeGeneratorError(reason.to_owned()))?;
    builder.finish(flags).map_err(|error| CodeGeneratorError(error.to_string()))
}

/// Why there is no code generator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeGeneratorError(String);

impl std::fmt::Display for CodeGeneratorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CodeGeneratorError {}

/// Fails with the name of a setting that is not as managed code needs it.
fn check_flags(flags: &settings::Flags) -> Result<(), String> {
    for (name, value) in NEEDED {
        let set = flags.iter().find(|flag| flag.name == name).and_then(|flag| flag.as_bool());
        if set != Some(value == "true") {
            return Err(format!("managed code needs Cranelift's setting {name}={value}"));
        }
    }
    Ok(())
}

/// Where a value of a site's canonical frame comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SiteValue {
    /// Not live.
    Dead,
    /// Constant bits.
    Const(u64),
    /// The constant bits of a `V128`, low half first.
    ConstVector([u64; 2]),
    /// At a call site the `n`th `ExceptionTableItem::Context` of the `try_call`, at a poll site the
    /// `n`th argument of the poll call. Number 0 is the context pointer in both.
    Item(u16),
    /// That item, an integer, plus a constant (wrapping): a value that need not be kept for the frame.
    ItemPlus(u16, i64),
}

/// A safepoint of the code that was compiled, as its translator described it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteDescription {
    /// Call or poll.
    pub kind: SiteKind,
    /// The language's name for the place.
    pub point: u32,
    /// The frame's values, in order.
    pub values: Vec<(ValueKind, SiteValue)>,
}

/// Safepoints by the `SourceLoc` bits that the call instruction carries. No other call at the same
/// source location may have an exception table or be a poll.
pub type Sites = HashMap<u32, SiteDescription>;

/// Why compiled code cannot be described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeError(pub String);

impl std::fmt::Display for DescribeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "compiled code that cannot be described: {}", self.0)
    }
}

impl std::error::Error for DescribeError {}

/// Builds the description of a function that was compiled for `isa`: bytes, frame maps, trap sites, source locations and
/// saved registers. Fails if `isa` was not made with the settings that [`flags`] has, if the code has relocations
/// (managed code reaches everything through its context), if a site's call or one of its values is missing, or if the
/// frame is larger than `max_frame` bytes.
///
/// A site whose call is unreachable, so that Cranelift dropped it, is no error.
pub fn describe(
    code: &CompiledCode,
    isa: &dyn TargetIsa,
    sites: &Sites,
    max_frame: u32,
) -> Result<CodeDescription, DescribeError> {
    check_flags(isa.flags()).map_err(DescribeError)?;
    let buffer = &code.buffer;
    if let Some(relocation) = buffer.relocs().first() {
        return Err(DescribeError(format!("relocation {:?}", relocation.kind)));
    }
    let (frame_size, saved_registers) = frame_layout(&buffer.unwind_info)?;
    if frame_size > max_frame {
        return Err(DescribeError(format!("a frame of {frame_size} bytes")));
    }
    let locations = buffer.get_srclocs_sorted();
    let point_at = |offset: u32| {
        let i = locations.partition_point(|l| l.start <= offset);
        locations[..i].last().filter(|l| offset < l.end).map(|l| l.loc.bits())
    };
    let mut maps = Vec::new();
    for call in buffer.call_sites() {
        let Some(site) = point_at(call.ret_addr - 1).and_then(|key| sites.get(&key)) else {
            if call.exception_handlers.is_empty() {
                continue;
            }
            return Err(DescribeError("a call with context but without description".to_owned()));
        };
        let map = match (site.kind, call.exception_handlers.is_empty()) {
            (SiteKind::Call, false) => call_map(site, call.exception_handlers)?,
            (SiteKind::Poll, true) => poll_map(site)?,
            (SiteKind::Call, true) => continue,
            (SiteKind::Poll, false) => {
                return Err(DescribeError("a poll with an exception table".to_owned()));
            }
        };
        maps.push((call.ret_addr, map));
    }
    let mut points: Vec<(u32, u32)> = Vec::with_capacity(locations.len());
    for location in locations {
        if points.last().is_none_or(|last| last.1 != location.loc.bits()) {
            points.push((location.start, location.loc.bits()));
        }
    }
    let mut traps: Vec<(u32, u8)> =
        buffer.traps().iter().map(|t| (t.offset, t.code.as_raw().get())).collect();
    traps.sort_unstable();
    Ok(CodeDescription {
        bytes: buffer.data().to_vec(),
        frame_size,
        saved_registers,
        frame_maps: FrameMapTable::new(maps),
        traps,
        points,
        #[cfg(feature = "verify-walks")]
        unwind_table: UnwindTable::new(code, isa)
            .ok_or_else(|| DescribeError("no call frame information".to_owned()))?,
    })
}

/// Hardware numbers of saved registers, and how far below the frame pointer each lies.
type SavedRegisters = SmallVec<[(u8, u32); 5]>;

/// Frame size and saved registers, from the unwind information.
fn frame_layout(unwind: &[(u32, UnwindInst)]) -> Result<(u32, SavedRegisters), DescribeError> {
    let (mut size, mut clobbers) = (0, 0);
    let mut saved = SmallVec::new();
    for (_, instruction) in unwind {
        match *instruction {
            UnwindInst::PushFrameRegs { .. } => {}
            UnwindInst::DefineNewFrame { offset_downward_to_clobbers, .. } => {
                clobbers = offset_downward_to_clobbers;
            }
            UnwindInst::StackAlloc { size: more } => size += more,
            UnwindInst::SaveReg { clobber_offset, reg } => {
                // The class's type is not exported; integer registers are class 0.
                if reg.class() as u8 != 0 {
                    return Err(DescribeError("a saved vector register".to_owned()));
                }
                saved.push((reg.hw_enc(), clobbers - clobber_offset));
            }
            ref other => return Err(DescribeError(format!("unwind instruction {other:?}"))),
        }
    }
    if unwind.is_empty() {
        return Err(DescribeError("no frame record".to_owned()));
    }
    Ok((size.max(clobbers), saved))
}

/// The map of a call: the items of its exception table are its values.
fn call_map(
    site: &SiteDescription,
    handlers: &[FinalizedMachExceptionHandler],
) -> Result<FrameMap, DescribeError> {
    let item = |n: u16| match handlers.get(usize::from(n)) {
        Some(FinalizedMachExceptionHandler::Context(ExceptionContextLoc::GPR(register))) => {
            Ok(Location::Gpr(*register))
        }
        Some(FinalizedMachExceptionHandler::Context(ExceptionContextLoc::SPOffset(offset))) => {
            Ok(Location::Sp(*offset))
        }
        other => Err(DescribeError(format!("item {n} of point {} is {other:?}", site.point))),
    };
    map(site, item)
}

/// The map of a poll: its values are the arguments of the poll call, which lie where the System V
/// convention puts them, and stay there: the poll preserves all registers and the outgoing area.
fn poll_map(site: &SiteDescription) -> Result<FrameMap, DescribeError> {
    const GPRS: [u8; 6] = [7, 6, 2, 1, 8, 9];
    let mut locations = vec![Location::Gpr(GPRS[0])];
    let (mut gprs, mut xmms, mut stack_bytes) = (1, 0, 0_u32);
    for (kind, value) in &site.values {
        let SiteValue::Item(n) = value else { continue };
        if usize::from(*n) != locations.len() {
            return Err(DescribeError(format!("items of point {} are out of order", site.point)));
        }
        let location = match kind {
            ValueKind::F32 | ValueKind::F64 | ValueKind::V128 if xmms < 8 => {
                xmms += 1;
                Location::Xmm(xmms - 1)
            }
            ValueKind::I32 | ValueKind::I64 | ValueKind::Ref if gprs < GPRS.len() => {
                gprs += 1;
                Location::Gpr(GPRS[gprs - 1])
            }
            _ => {
                // Vectors lie at multiples of their size.
                let size = kind.slots() as u32 * 8;
                let at = stack_bytes.next_multiple_of(size);
                stack_bytes = at + size;
                Location::Sp(at)
            }
        };
        locations.push(location);
    }
    map(site, |n| {
        let location = locations.get(usize::from(n)).copied();
        location.ok_or_else(|| DescribeError(format!("no item {n} at point {}", site.point)))
    })
}

fn map(
    site: &SiteDescription,
    item: impl Fn(u16) -> Result<Location, DescribeError>,
) -> Result<FrameMap, DescribeError> {
    let values = site.values.iter().map(|&(kind, value)| {
        let location = match value {
            SiteValue::Dead => Location::Dead,
            SiteValue::Const(bits) => Location::Const(bits),
            SiteValue::ConstVector(halves) => Location::ConstVector(halves),
            SiteValue::Item(n) => item(n)?,
            SiteValue::ItemPlus(n, addend) => item(n)?.plus(addend).ok_or_else(|| {
                DescribeError(format!("item {n} of point {} is no integer", site.point))
            })?,
        };
        Ok(FrameValue { kind, location })
    });
    Ok(FrameMap {
        kind: site.kind,
        point: site.point,
        context: item(0)?,
        values: values.collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_codegen::Context;
    use cranelift_codegen::control::ControlPlane;
    use cranelift_codegen::ir::{Function, InstBuilder};
    use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

    #[test]
    fn a_language_chooses_among_the_other_settings() {
        let mut chosen = flags();
        chosen.set("opt_level", "speed").unwrap();
        let isa = code_generator(chosen).unwrap();
        assert_eq!(isa.flags().opt_level(), settings::OptLevel::Speed);
        assert!(isa.flags().preserve_frame_pointers() && isa.flags().unwind_info());
    }

    #[test]
    fn a_setting_that_managed_code_needs_cannot_be_changed() {
        for (name, value) in NEEDED {
            let mut changed = flags();
            changed.set(name, if value == "true" { "false" } else { "true" }).unwrap();
            let error = code_generator(changed).err().unwrap().to_string();
            assert!(error.contains(&format!("{name}={value}")), "{error}");
        }
    }

    #[test]
    fn code_that_was_compiled_with_other_settings_is_not_described() {
        let mut other = settings::builder();
        other.set("unwind_info", "true").unwrap();
        let native = cranelift_native::builder().unwrap();
        for (isa, fits) in [
            (native.finish(settings::Flags::new(other)).unwrap(), false),
            (code_generator(flags()).unwrap(), true),
        ] {
            let mut context = Context::for_function(Function::new());
            let mut frontend = FunctionBuilderContext::new();
            let mut builder = FunctionBuilder::new(&mut context.func, &mut frontend);
            let block = builder.create_block();
            builder.switch_to_block(block);
            builder.seal_block(block);
            builder.ins().return_(&[]);
            builder.finalize(isa.frontend_config());
            let code = context.compile(&*isa, &mut ControlPlane::default()).unwrap();
            let error = describe(code, &*isa, &Sites::new(), 1 << 16).err();
            let named = error.map(|error| error.0.contains("preserve_frame_pointers=true"));
            assert_eq!(named, if fits { None } else { Some(true) });
        }
    }
}
