//! The `tickerd` command.

/// Frames are made on the hub's thread and freed on a reactor's, which this allocator does best.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    tickerd::cli::main()
}
