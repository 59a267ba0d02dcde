//! From the canonical form of a frame to a frame of the interpreter. (`InterpFrame::capture` is the way
//! back.)

use crate::body::FunctionBody;
use crate::lowered::code::LoweredCode;
use crate::module_env::ModuleEnv;
use midair_osr::SiteKind;

/// A frame in canonical form that is suspended at a safepoint.
#[derive(Clone, Copy, Debug)]
pub struct CanonicalFrame<'a> {
    /// What the frame is suspended at: at a poll the function's entry or a loop header.
    pub kind: SiteKind,
    /// The safepoint.
    pub point: u32,
    /// Locals, then operands; at a call that has returned, its results are the last of them.
    pub values: &'a [u64],
}

impl CanonicalFrame<'_> {
    /// The form of `code` that the frame can go on in, and the offset of the instruction at which it does.
    /// `env` must be that of the code's module.
    ///
    /// # Panics
    /// If the body has no such safepoint, or the frame has another size.
    pub(super) fn place<'a>(
        &self,
        code: &'a LoweredCode,
        env: &ModuleEnv,
    ) -> (&'a LoweredCode, u32) {
        let locals = code.locals as usize;
        let operands = self.values.len() - locals;
        if self.point == FunctionBody::ENTRY {
            assert_eq!(operands, 0, "a frame at its entry has no operands");
            return (code, 0);
        }
        let (kind, point) = (self.kind, self.point);
        let find = |code: &LoweredCode| {
            let site = code.sites(env).site(point);
            *site
                .filter(|site| site.kind == kind)
                .unwrap_or_else(|| panic!("no safepoint at {point} of {:?}", code.body()))
        };
        let site = find(code);
        assert!(
            operands == (site.height + site.results) as usize,
            "a frame of {operands} operands does not fit the safepoint at {point}",
        );
        // Operands that the code takes from locals or for constants have to agree with these.
        if code.sites(env).agree(&site, self.values, locals) {
            return (code, site.resume);
        }
        let code = code.settled(env);
        (code, find(code).resume)
    }

    /// Writes the frame's slots, all but the header, which is at `fp`.
    ///
    /// # Safety
    /// `fp` must be a frame of `code`, which [`CanonicalFrame::place`] has chosen for this frame.
    pub(super) unsafe fn write(&self, code: &LoweredCode, fp: *mut u64) {
        let (locals, operands) = self.values.split_at(code.locals as usize);
        // SAFETY: the frame has room for the locals below its header, and above it for the operands of
        // each of its safepoints.
        unsafe {
            fp.sub(locals.len()).copy_from_nonoverlapping(locals.as_ptr(), locals.len());
            fp.add(code.first_temp as usize)
                .copy_from_nonoverlapping(operands.as_ptr(), operands.len());
        }
    }
}
