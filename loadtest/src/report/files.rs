//! What is kept of a run: a directory with the record, and its distributions in the forms that other tools read. Nothing is ever overwritten.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::figures::{self, Figures, lane_name};
use super::{charts, csv, hdr, text};
use crate::record::Record;

/// The record's name in its directory.
const RECORD: &str = "record.json";

/// The form of records that this version writes and reads.
const FORMAT: u32 = 1;

/// The longest record that is read: an hour of three lanes takes a tenth of it.
const RECORD_BYTES_MAX: u64 = 256 << 20;

/// Makes the directory ready, before a run spends its time: creates it, and refuses one that has files already.
pub fn prepare(dir: &Path) -> Result<(), String> {
    let error = |error: io::Error| format!("{}: {error}: choose a directory that can be written", dir.display());
    fs::create_dir_all(dir).map_err(error)?;
    let first = fs::read_dir(dir).map_err(error)?.next().transpose().map_err(error)?;
    first.map_or(Ok(()), |first| {
        let name = first.file_name();
        Err(format!("{}: is not empty (it has {}): results never overwrite others, choose a new directory", dir.display(), name.display()))
    })?;
    // A directory that can be read and not written is found now, not after the run.
    let probe = dir.join(".writable");
    fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)).map_err(error)
}

/// Writes all files, the record first, and returns their paths. Stops at the first that cannot be written or is there already.
pub fn write(record: &Record, dir: &Path) -> Result<Vec<PathBuf>, String> {
    fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut written = Vec::new();
    let mut put = |name: &str, render: &dyn Fn(&mut Vec<u8>) -> io::Result<()>| {
        let path = dir.join(name);
        put(&path, render).map_err(|error| format!("{}: {error}", path.display()))?;
        written.push(path);
        Ok::<(), String>(())
    };
    put(RECORD, &|out| serde_json::to_writer_pretty(out, record).map_err(io::Error::from))?;
    put("seconds.csv", &|out| csv::seconds(record, out))?;
    put("run.hlog", &|out| hdr::interval_log(record, out))?;
    if let Some(window) = figures::chosen(record) {
        for series in Figures::of(window)?.lanes {
            put(&format!("{}.hgrm", lane_name(series.lane)), &|out| {
                hdr::percentiles(&series.latency, out)?;
                // The readers of this form take such lines for remarks.
                record.cut.as_ref().map_or(Ok(()), |cut| writeln!(out, "#[{}]", text::line(&cut.text())))
            })?;
        }
    }
    put("percentiles.svg", &|out| out.write_all(charts::percentiles(record).map_err(io::Error::other)?.as_bytes()))?;
    Ok(written)
}

fn put(path: &Path, render: &dyn Fn(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    let mut text = Vec::new();
    render(&mut text)?;
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(&text)
}

/// Reads a record: its file, or the directory that [`write()`] filled.
pub fn read(path: &Path) -> Result<Record, String> {
    let path = if path.is_dir() { path.join(RECORD) } else { path.to_owned() };
    let record = read_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if record.format != FORMAT {
        return Err(format!("{}: a record of form {}; this version reads form {FORMAT}", path.display(), record.format));
    }
    Ok(record)
}

fn read_file(path: &Path) -> Result<Record, String> {
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(|error| format!("{error}: give a run's directory or its {RECORD}"))?;
    let length = file.take(RECORD_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if length as u64 > RECORD_BYTES_MAX {
        return Err(format!("longer than any record ({} MiB): is it another file?", RECORD_BYTES_MAX >> 20));
    }
    serde_json::from_slice(&text).map_err(|error| format!("not a run's record: {error}"))
}

#[cfg(test)]
mod tests {
    use std::{env, process};

    use super::*;
    use crate::report::testing;

    /// A directory of this test's own, removed when it ends.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let path = env::temp_dir().join(format!("tickerd-loadtest-{}-{name}", process::id()));
            fs::create_dir(&path).expect("the name is new");
            Dir(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("it is ours");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let dir = Dir::new("back");
        let (record, at) = (testing::plain(), dir.0.join("new/run"));
        prepare(&at).expect("it can be made");
        let written = write(&record, &at).expect("it is empty");
        let names: Vec<&str> = written.iter().map(|path| path.file_name().and_then(|name| name.to_str()).expect("plain names")).collect();
        assert_eq!(names, ["record.json", "seconds.csv", "run.hlog", "alert.hgrm", "update.hgrm", "percentiles.svg"]);
        assert!(written.iter().all(|path| fs::metadata(path).is_ok_and(|file| file.len() > 100)));
        let text = |record: &Record| serde_json::to_string(record).expect("plain values");
        for path in [&at, &at.join(RECORD)] {
            assert_eq!(text(&read(path).expect("just written")), text(&record));
        }
    }

    /// Whatever file is found later says that it is of a part.
    #[test]
    fn every_file_of_an_interrupted_run_says_so() {
        let dir = Dir::new("cut");
        for path in write(&testing::interrupted(), &dir.0).expect("it is empty") {
            let text = fs::read_to_string(&path).expect("just written");
            let told = ["interrupted after 12.3 of 30 s", "\"cut\": {", ",cut,"].iter().any(|mark| text.contains(mark));
            assert!(told, "{}: {text:.2000}", path.display());
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = Dir::new("over");
        fs::write(dir.0.join("run.hlog"), "mine").expect("it is ours");
        let error = prepare(&dir.0).expect_err("it has a file");
        assert!(error.contains("over: is not empty (it has run.hlog)"), "{error}");
        let error = write(&testing::plain(), &dir.0).expect_err("it has that file");
        assert!(error.contains("run.hlog: File exists"), "{error}");
        assert_eq!(fs::read_to_string(dir.0.join("run.hlog")).expect("it is there"), "mine");
    }

    #[test]
    fn errors_name_the_path_and_what_is_wrong() {
        let dir = Dir::new("errors");
        let file = dir.0.join("file");
        fs::write(&file, "{\"format\": 1}").expect("it is ours");
        let error = prepare(&file.join("below")).expect_err("a file has nothing below");
        assert!(error.contains("file/below: Not a directory"), "{error}");
        let error = read(&file).expect_err("no record");
        assert!(error.contains("file: not a run's record: missing field"), "{error}");
        let error = read(&dir.0).expect_err("no record");
        assert!(error.contains("record.json: No such file or directory (os error 2): give a run's directory"), "{error}");
        let mut record = testing::plain();
        record.format = 2;
        fs::write(&file, serde_json::to_string(&record).expect("plain values")).expect("it is ours");
        assert!(read(&file).expect_err("another form").contains("file: a record of form 2; this version reads form 1"));
    }
}
