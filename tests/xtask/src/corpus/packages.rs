//! Fetching packages with the ordinary clients of their registries, by name and exact version.
//!
//! Every fetch leaves a directory and, beside it, a stamp that says which version is in it; a
//! directory with the right stamp is not fetched again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::stamp::{Stamp, replace_directory};
use crate::{process, project};

/// A package of the Python index, unpacked by pip.
pub fn from_pip(name: &str, version: &str) -> Result<PathBuf> {
    let dir = project::corpus().join("packages").join(name);
    fetched(&dir, version, || {
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-warn-script-location",
        ])
        .args(["--root-user-action", "ignore", "--target"])
        .arg(&dir)
        .arg(format!("{name}=={version}"));
        process::run_tool(&mut pip, &format!("fetching {name} {version} with pip")).map(drop)
    })
}

/// A package of the npm registry, unpacked; what it depends on is not fetched.
pub fn from_npm(name: &str, version: &str) -> Result<PathBuf> {
    let dir =
        project::corpus().join("packages").join(name.trim_start_matches('@').replace('/', "-"));
    fetched(&dir, version, || {
        let purpose = format!("fetching {name} {version} with npm");
        let mut npm = Command::new("npm");
        npm.args(["pack", "--silent", "--pack-destination"])
            .arg(&dir)
            .arg(format!("{name}@{version}"))
            .current_dir(&dir);
        process::run_tool(&mut npm, &purpose)?;
        let archive = only_file_ending(&dir, ".tgz")?;
        unpack_tar(&archive, &dir)?;
        fs::remove_file(archive).context(purpose)
    })?;
    Ok(dir.join("package"))
}

/// The sources of crates, as cargo vendors them for a generated package that depends on them.
/// Each lies in a directory `name-version`.
pub fn from_cargo(crates: &[(&str, &str)]) -> Result<PathBuf> {
    let dir = project::corpus().join("packages/crates");
    let key: Vec<String> =
        crates.iter().map(|(name, version)| format!("{name} {version}")).collect();
    fetched(&dir, &key.join(", "), || {
        let mut manifest = String::from(
            "[package]\nname = \"corpus-sources\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n",
        );
        for (name, version) in crates {
            manifest +=
                &format!("{name} = {{ version = \"={version}\", default-features = false }}\n");
        }
        fs::create_dir_all(dir.join("src"))?;
        fs::write(dir.join("Cargo.toml"), manifest)?;
        fs::write(dir.join("src/lib.rs"), "")?;
        let mut cargo = Command::new(project::cargo());
        cargo.args(["vendor", "--quiet", "--versioned-dirs", "vendor"]).current_dir(&dir);
        process::run_tool(&mut cargo, "fetching the sources of crates with cargo").map(drop)
    })?;
    Ok(dir.join("vendor"))
}

/// The original source archive of a Debian source package, unpacked.
///
/// Uses the package lists of its own below the corpus directory, made from the machine's
/// configured sources with `deb` read as `deb-src`, so that nothing of the machine changes.
pub fn from_debian_source(name: &str) -> Result<PathBuf> {
    let dir = project::corpus().join("packages").join(format!("debian-{name}"));
    fetched(&dir, name, || {
        let lists = dir.join("apt");
        for part in ["parts", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(lists.join(part))?;
        }
        let written = source_entries(Path::new("/etc/apt"), &lists.join("parts"))?;
        if written == 0 {
            bail!(
                "the source package {name} comes from Debian, and this machine has no apt sources configured"
            );
        }
        let apt = |words: &[&str]| {
            let mut apt = Command::new("apt-get");
            apt.args(["-q", "-o", "Dir::Etc::sourcelist=/dev/null"]).current_dir(&dir);
            for (key, at) in
                [("Etc::sourceparts", "parts"), ("State::lists", "lists"), ("Cache", "cache")]
            {
                apt.arg("-o").arg(format!("Dir::{key}={}", lists.join(at).display()));
            }
            apt.args(words);
            apt
        };
        let purpose = format!("fetching the source package {name} with apt-get");
        process::run_tool(&mut apt(&["update"]), &purpose)?;
        process::run_tool(&mut apt(&["source", "--download-only", name]), &purpose)?;
        let archive = only_file_with(&dir, |file| file.contains(".orig.tar."))?;
        unpack_tar(&archive, &dir)?;
        fs::remove_dir_all(lists).context(purpose)
    })
}

/// Unpacks a tar archive of any compression into `dir`.
pub fn unpack_tar(archive: &Path, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(archive).arg("-C").arg(dir);
    process::run_tool(&mut tar, &format!("unpacking {}", archive.display())).map(drop)
}

/// The one file below `dir`, at any depth, whose path ends in `tail`.
pub fn find_below(dir: &Path, tail: &str) -> Result<PathBuf> {
    let mut left = vec![dir.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).with_context(|| next.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else if path.ends_with(tail) {
                return Ok(path);
            }
        }
    }
    bail!("no {tail} below {}: the package has changed its contents", dir.display())
}

fn fetched(dir: &Path, version: &str, fetch: impl FnOnce() -> Result<()>) -> Result<PathBuf> {
    let stamp = Stamp::beside(dir, version);
    if !stamp.is_current() {
        println!("fetch {}", dir.strip_prefix(project::corpus()).unwrap_or(dir).display());
        replace_directory(dir)?;
        fetch()?;
        stamp.set()?;
    }
    Ok(dir.to_path_buf())
}

/// Copies the machine's apt sources with `deb` turned into `deb-src`; returns how many files.
fn source_entries(etc: &Path, to: &Path) -> Result<usize> {
    let mut files = vec![etc.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc.join("sources.list.d")) {
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    let mut written = 0;
    for file in files {
        let (Ok(text), Some(name)) = (fs::read_to_string(&file), file.file_name()) else {
            continue;
        };
        let text = as_source_entries(&text);
        if !text.is_empty() {
            fs::write(to.join(name), text)?;
            written += 1;
        }
    }
    Ok(written)
}

/// The entries of one apt sources file that can hold source packages of the distribution, as
/// entries for sources. Entries without a `main` component are other people's and dropped.
fn as_source_entries(text: &str) -> String {
    let mut out = String::new();
    if text.lines().any(|line| line.starts_with("Types:")) {
        for paragraph in text.split("\n\n") {
            let has_main = paragraph
                .lines()
                .any(|line| line.starts_with("Components:") && line.contains("main"));
            let is_debian =
                paragraph.lines().any(|line| line.starts_with("URIs:") && line.contains("debian"));
            if has_main && is_debian {
                for line in paragraph.lines() {
                    out += if line.starts_with("Types:") { "Types: deb-src" } else { line };
                    out.push('\n');
                }
                out.push('\n');
            }
        }
    } else {
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("deb ")
                && rest.contains("debian")
                && rest.contains(" main")
            {
                out += &format!("deb-src {rest}\n");
            }
        }
    }
    out
}

fn only_file_ending(dir: &Path, tail: &str) -> Result<PathBuf> {
    only_file_with(dir, |name| name.ends_with(tail))
}

fn only_file_with(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted) {
            return Ok(path);
        }
    }
    bail!("nothing that was expected has been downloaded into {}", dir.display())
}

#[cfg(test)]
mod tests {
    use super::as_source_entries;

    #[test]
    fn paragraphs_of_the_distribution_become_source_paragraphs() {
        let text = "Types: deb\nURIs: mirror/debian\nSuites: stable\nComponents: main\n\nTypes: deb\nURIs: mirror/editor\nSuites: any\nComponents: main\n";
        assert_eq!(
            as_source_entries(text),
            "Types: deb-src\nURIs: mirror/debian\nSuites: stable\nComponents: main\n\n"
        );
    }

    #[test]
    fn one_line_entries_become_source_entries() {
        let text =
            "# comment\ndeb mirror/debian stable main contrib\ndeb mirror/cloud tools main\n";
        assert_eq!(as_source_entries(text), "deb-src mirror/debian stable main contrib\n");
    }
}
