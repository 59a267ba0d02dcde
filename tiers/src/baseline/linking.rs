//! Putting baseline code in use and out of use.

use super::translator::{Features, Translator};
use crate::context::FunctionState;
use crate::interp::continuation_handler;
use crate::lowered::code::LoweredCode;
use crate::lowered::continuations::call_by_handler;
use crate::module_env::ModuleEnv;
use midair_osr::CodeDescription;
use std::sync::atomic::Ordering;

/// Baseline code that has not been published.
#[derive(Debug)]
pub struct BaselineCode {
    /// The code, to be published.
    pub description: CodeDescription,
    /// Where it is linked.
    pub links: BaselineLinks,
}

/// Where baseline code is entered, relative to its start.
#[derive(Debug)]
pub struct BaselineLinks {
    entry: u32,
    /// By number of the continuation.
    words: Box<[u32]>,
}

/// Compiles lowered code. The time and the size of what is made are linear in that of the lowered code.
///
/// `None` where there is no baseline tier: in builds whose interpreter dispatches by a loop.
///
/// The lowered code must not be moved any more. `env` must be that of its module.
pub fn compile(env: &ModuleEnv, lowered: &LoweredCode) -> Option<BaselineCode> {
    if cfg!(any(debug_assertions, feature = "loop-dispatch")) {
        return None;
    }
    let translated = Translator::new(env, lowered, Features::detect()).translate();
    let built = translated.continuations;
    let continuations = lowered.make_continuations(|| built.finish(continuation_handler()));
    let base = continuations.base() as u64;
    let mut bytes = translated.code;
    for at in translated.addresses {
        let place = &mut bytes[at as usize..][..8];
        let offset = u64::from_le_bytes((&*place).try_into().expect("8 bytes"));
        place.copy_from_slice(&(base + offset).to_le_bytes());
    }
    let words: Box<[u32]> = translated.words.into();
    assert_eq!(words.len(), continuations.len(), "the same code has the same continuations");
    let links = BaselineLinks { entry: translated.entry, words };
    let description = CodeDescription { bytes, ..CodeDescription::default() };
    Some(BaselineCode { description, links })
}

impl LoweredCode {
    /// Puts baseline code, which has been published at `start`, in use: frames of this lowered code go on there behind
    /// their next safepoint.
    ///
    /// # Safety
    /// `links` must be those of code that was compiled from this, and the code must stay until
    /// [`LoweredCode::unlink_baseline`] has been called and every thread has passed a safepoint since.
    pub unsafe fn link_baseline(&self, links: &BaselineLinks, start: *const u8) {
        let continuations = self.continuations().expect("made when it was compiled");
        continuations.set_all(|number| start as u64 + u64::from(links.words[number]));
        self.enter_by_word(true);
    }

    /// Takes baseline code out of use: frames go on in the interpreter. Threads that run the code leave it at their next
    /// safepoint.
    pub fn unlink_baseline(&self) {
        self.enter_by_word(false);
        if let Some(continuations) = self.continuations() {
            continuations.set_all(|_| continuation_handler());
        }
    }
}

impl FunctionState {
    /// Lets baseline code call the function's baseline code, which has been published at `start`, without asking what
    /// else it is run by.
    ///
    /// # Safety
    /// As for [`LoweredCode::link_baseline`], but for [`FunctionState::unlink_baseline`].
    pub unsafe fn link_baseline(&self, links: &BaselineLinks, start: *const u8) {
        let entry = start.wrapping_add(links.entry as usize);
        self.baseline.store(entry.cast_mut(), Ordering::Release);
    }

    /// Lets baseline code ask at each call what the function is run by.
    pub fn unlink_baseline(&self) {
        self.baseline.store(call_by_handler(), Ordering::Release);
    }
}
