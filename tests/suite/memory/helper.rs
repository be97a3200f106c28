//! The other process: this binary again, running one of the ignored tests below, told what to do line by line.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use aes::Aes256;
use aes::cipher::{Array, KeyInit};
use futures_util::FutureExt;
use keypod::envelope::{self, Context, Header};
use keypod::names::{KeyId, KeyRef, KeyVersion};
use keypod::process::harden;
use keypod::root::local::LocalRoot;
use keypod::root::{Binding, Root};
use keypod::secret::{
    Arena, Ciphertext, DataKey, KeyVersionSecret, OpenBuffer, Plaintext, Protection, SealBuffer,
    SubjectSecret, WrappedKey,
};

use super::needles::{MASK, hex, random};
use super::{SCANNED, scan};

const NOBODY: u32 = 65_534;
const MARK: &str = "helper: ";

pub(super) struct Helper {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Helper {
    pub(super) fn start(test: &str) -> Self {
        Self::spawn(test, &mut Command::new(std::env::current_exe().unwrap()))
    }

    pub(super) fn start_as_nobody(test: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        Self::spawn(test, command.uid(NOBODY).gid(NOBODY))
    }

    fn spawn(test: &str, command: &mut Command) -> Self {
        let (_, module) = module_path!().split_once("::").unwrap();
        let mut child = command
            .args(["--exact", &format!("{module}::{test}"), "--ignored", "--nocapture"])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, orders, answers }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn say(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    pub(super) fn hear(&mut self) -> String {
        let mut line = String::new();
        while !line.contains(MARK) {
            line.clear();
            assert_ne!(self.answers.read_line(&mut line).unwrap(), 0, "the helper has ended");
        }
        line.split_once(MARK).unwrap().1.trim_end().to_owned()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The next order, or `None` for somebody who runs the ignored tests by hand.
fn order() -> Option<String> {
    std::io::stdin().lines().next()?.ok()
}

fn tell(answer: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{MARK}{answer}").and_then(|()| out.flush()).unwrap();
}

/// Runs `work` far down the stack, so that what is called later does not overwrite what it left there.
#[inline(never)]
fn far_down<T>(work: impl FnOnce() -> T) -> T {
    let above = black_box([0_u8; 128 * 1024]);
    let done = work();
    black_box(&above);
    done
}

fn unmask(into: &mut [u8], masked: &[u8]) {
    for (byte, masked) in into.iter_mut().zip(masked) {
        *byte = black_box(*masked) ^ black_box(MASK);
    }
}

fn masked(bytes: &[u8]) -> String {
    hex(bytes.iter().map(|byte| black_box(*byte) ^ black_box(MASK)))
}

fn random_buffer() -> SealBuffer {
    let mut buffer = SealBuffer::with_len(1_000);
    unmask(buffer.expose_plaintext_mut(), &random(1_000));
    buffer
}

/// One of each kind.
struct Held {
    version_secret: KeyVersionSecret,
    subject_secret: SubjectSecret,
    data_key: DataKey,
    subject_data_key: DataKey,
    seal_buffer: SealBuffer,
    open_buffer: OpenBuffer,
    plaintext: Plaintext,
    message: Ciphertext,
    root: LocalRoot,
    passphrase_root: LocalRoot,
    wrapped: WrappedKey,
    unwrapped: [KeyVersionSecret; 2],
    control_key: Vec<u8>,
    control: Box<Aes256>,
}

impl Held {
    fn make(folder: &Path, arena: &Arena) -> Self {
        let key = KeyRef { id: KeyId::from_bytes([7; 8]), version: KeyVersion::FIRST };
        let fill = |bytes: &mut [u8; 32]| {
            unmask(bytes, &random(32));
            Ok::<(), std::convert::Infallible>(())
        };
        let version_secret = KeyVersionSecret::fill(arena, fill).unwrap();

        let (root, passphrase_root) = (
            LocalRoot::from_key_file(&folder.join("key"), arena).unwrap(),
            LocalRoot::from_passphrase(&folder.join("passphrase"), &folder.join("salt"), arena)
                .unwrap(),
        );
        let binding = Binding { key, domain: "default" };
        let wrap =
            |root: &LocalRoot| root.wrap(&version_secret, binding).now_or_never().unwrap().unwrap();
        let unwrap_key = |root: &LocalRoot, wrapped: &WrappedKey| {
            root.unwrap_key(wrapped, binding).now_or_never().unwrap()
        };
        let wrapped = wrap(&root);
        assert!(unwrap_key(&passphrase_root, &wrapped).is_err());
        let unwrapped = [
            unwrap_key(&root, &wrapped).unwrap(),
            unwrap_key(&passphrase_root, &wrap(&passphrase_root)).unwrap(),
        ];

        // After the roots, which wipe more of the stack than the envelope has to.
        let subject_secret = SubjectSecret::fill(arena, fill).unwrap();
        let data_key = envelope::data_key(arena, key, &version_secret, None).unwrap();
        let subject_data_key =
            envelope::data_key(arena, key, &version_secret, Some(&subject_secret)).unwrap();

        let message = envelope::seal(&data_key, &Context::empty(), random_buffer()).unwrap();
        let header = Header::parse(message.as_bytes()).unwrap();
        let open = |bytes: Vec<u8>| {
            let received = OpenBuffer::from_received(bytes);
            envelope::open(&data_key, &Context::empty(), &header, received)
        };
        let plaintext = open(message.as_bytes().to_vec()).unwrap();
        let mut altered = message.as_bytes().to_vec();
        *altered.last_mut().unwrap() ^= 1;
        assert!(open(altered).is_err());
        let mut received = vec![0; 100];
        unmask(&mut received, &random(100));

        let control_key = random(32);
        let mut unmasked = Array::default();
        unmask(&mut unmasked, &control_key);
        let control = Box::new(Aes256::new(&unmasked));
        Self {
            version_secret,
            subject_secret,
            data_key,
            subject_data_key,
            seal_buffer: random_buffer(),
            open_buffer: OpenBuffer::from_received(received),
            plaintext,
            message,
            root,
            passphrase_root,
            wrapped,
            unwrapped,
            control_key,
            control,
        }
    }

    fn describe(&mut self) -> String {
        black_box((&self.root, &self.passphrase_root, &self.unwrapped, &self.control));
        let secrets = [
            ("KeyVersionSecret", masked(self.version_secret.expose_bytes())),
            ("SubjectSecret", masked(self.subject_secret.expose_bytes())),
            ("DataKey", masked(self.data_key.expose_bytes())),
            ("SubjectDataKey", masked(self.subject_data_key.expose_bytes())),
            ("SealBuffer", masked(self.seal_buffer.expose_plaintext_mut())),
            ("OpenBuffer", masked(self.open_buffer.as_bytes())),
            ("Plaintext", masked(self.plaintext.expose_bytes())),
            ("control", hex(self.control_key.iter().copied())),
            ("message", hex(self.message.as_bytes().iter().copied())),
            ("wrapped", hex(self.wrapped.as_bytes().iter().copied())),
        ];
        secrets.map(|(name, value)| format!("{name}={value}")).join(" ")
    }
}

#[test]
#[ignore = "a helper of nothing_secret_is_left_in_memory_once_it_is_dropped"]
fn holds_one_of_each_kind() {
    let Some(folder) = order() else { return };
    // It stays to the end: its pages are not unmapped, and slots that were not wiped would show.
    let arena = Arena::with_protection_at_most(SCANNED).unwrap();
    let mut held = far_down(|| Box::new(Held::make(Path::new(&folder), &arena)));
    tell(&held.describe());
    order();
    far_down(move || drop(held));
    assert_eq!(arena.slots_used(), 0);
    tell("dropped");
    order();
}

fn hold_a_key(arena: &Arena, then: impl FnOnce(&KeyVersionSecret)) {
    let secret = KeyVersionSecret::fill(arena, |bytes| {
        unmask(bytes, &random(32));
        Ok::<(), std::convert::Infallible>(())
    });
    then(&secret.unwrap());
}

#[test]
#[ignore = "a helper of a_hardened_process_is_closed_to_its_own_user_and_secretmem_even_to_root"]
fn holds_a_key_hardened() {
    let Some(kind) = order() else { return };
    harden().unwrap();
    let kinds = [Protection::Secretmem, Protection::Mlock, Protection::Heap];
    let kind = kinds.into_iter().find(|one| one.as_str() == kind).unwrap();
    let arena = Arena::with_protection_at_most(kind).unwrap();
    hold_a_key(&arena, |key| {
        let address = key.expose_bytes().as_ptr().addr();
        let masked = masked(key.expose_bytes());
        tell(&format!("{} {address:x} {masked}", arena.protection().as_str()));
        order();
    });
}

#[test]
#[ignore = "a helper of a_process_of_the_same_user_cannot_read_a_hardened_one"]
fn holds_a_key_as_told() {
    let Some(orders) = order() else { return };
    if orders == "harden" {
        harden().unwrap();
    }
    hold_a_key(&Arena::with_protection_at_most(Protection::Heap).unwrap(), |key| {
        tell(&format!("{:x}", key.expose_bytes().as_ptr().addr()));
        order();
    });
}

#[test]
#[ignore = "a helper of a_process_of_the_same_user_cannot_read_a_hardened_one"]
fn reads_a_neighbour() {
    let Some(orders) = order() else { return };
    let (pid, address) = orders.split_once(' ').unwrap();
    let address = u64::from_str_radix(address, 16).unwrap();
    let read = scan::read(pid.parse().unwrap(), address, 32);
    tell(if read.is_ok() { "read" } else { "refused" });
}
