//! The timeline of a run as a file: a picture, or a trace that viewers of traces show.
//!
//! ```text
//!   run      what is shown, with times from the beginning of the process
//!   labels   how functions, times and sizes are written
//!   pixels   things that are drawn too close to be told apart, drawn as one
//!   panels   the parts of the picture, each with its scale
//!   svg      the picture
//!   trace    the trace
//! ```

mod labels;
mod panels;
mod pixels;
mod run;
mod svg;
mod trace;

pub use run::Run;
use std::io::{BufWriter, Result, Write};

/// What kind of file a timeline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A picture.
    Svg,
    /// Events in the format of Chrome's tracing, which Perfetto reads.
    Trace,
}

/// Writes the timeline of a run.
pub fn write(run: &Run, format: Format, file: impl Write) -> Result<()> {
    match format {
        Format::Svg => {
            let mut file = file;
            file.write_all(svg::picture(run).as_bytes())
        }
        Format::Trace => {
            let mut file = BufWriter::new(file);
            trace::write(run, &mut file)?;
            file.flush()
        }
    }
}

#[cfg(test)]
mod tests;
