pub(crate) fn callout_address() -> *const u8 {
    todo!()
}
pub(crate) fn poll_address() -> *const u8 {
    todo!()
}
