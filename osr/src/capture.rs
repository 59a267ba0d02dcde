//! The canonical form of a frame that is leaving machine code.

/// Decides where a captured frame goes on.
pub trait TransferHook {}
/// A captured frame.
#[derive(Debug)]
pub struct CapturedFrame {}
/// Registers that carry results.
#[derive(Debug)]
pub struct ReturnRegisters {}
/// Where to go on.
#[derive(Debug)]
pub struct TransferTarget {}
