pub struct CodeRegistry {}
