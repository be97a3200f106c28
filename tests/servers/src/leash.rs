//! Ends a server when the process that started it ends, however that ends.
//!
//! Statics are never dropped, and a test may be killed. So each server runs under a small shell that reads a pipe:
//! when the write end closes, with the [`Leash`] or with this process, the shell ends the server.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs its arguments as a command until standard input ends. PostgreSQL stops fast at INT and waits for its
/// clients at TERM; others may ignore INT here, because a shell's background commands do.
const SCRIPT: &str = r#"
"$@" < /dev/null & server=$!
cat > /dev/null
kill -INT $server; kill -TERM $server
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 $server || exit 0; sleep 0.2; done
kill -KILL $server
"#;

/// A running server. It ends when this is dropped, or with the process.
#[derive(Debug)]
pub struct Leash {
    shell: Child,
}

impl Leash {
    /// Starts `command`, with both outputs in `log`. Its environment and folder are those of `command`.
    ///
    /// # Errors
    /// When there is no shell, or `log` cannot be made.
    pub fn start(command: &Command, log: &Path) -> io::Result<Self> {
        let log = File::create(log)?;
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(SCRIPT).arg("leash").arg(command.get_program());
        shell.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        shell.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { shell: shell.spawn()? })
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
