//! The bytes to look for: secrets, and what the algorithms make of them on the way.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aes::Aes256;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use argon2::{Algorithm, Argon2, Params, Version};
use hkdf::Hkdf;
use keypod::envelope::{Context, Header};
use sha2::Sha256;
use tempfile::TempDir;

/// What the helper's bytes are masked with while they are in the open.
pub(super) const MASK: u8 = 0xc9;

/// The cipher that the helper holds in the open.
pub(super) const CONTROL: &str = "AES schedule of a cipher that is held";

pub(crate) struct Needle {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    /// Whether the helper still holds it when it says so: the scan must then see it.
    pub(super) is_held: bool,
}

impl Needle {
    pub(crate) fn held(name: &'static str, bytes: Vec<u8>) -> Self {
        Self { name, bytes, is_held: true }
    }

    pub(crate) fn passing(name: &'static str, bytes: Vec<u8>) -> Self {
        Self { name, bytes, is_held: false }
    }
}

pub(super) fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

pub(super) fn hex(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    (0..text.len() / 2).map(digits).collect()
}

pub(super) fn unmasked(text: &str) -> Vec<u8> {
    unhex(text).into_iter().map(|byte| byte ^ MASK).collect()
}

/// The files of two local roots, which this process makes and the helper only opens.
pub(super) struct RootFiles {
    folder: TempDir,
    key: Vec<u8>,
    passphrase: String,
}

impl RootFiles {
    pub(super) fn random() -> Self {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
            key: random(32),
            passphrase: hex(random(24)),
        };
        let salt = r#"{"version":1,"kdf":"argon2id","memory_kib":19456,"iterations":2,"lanes":1,"salt":"AAECAwQFBgcICQoLDA0ODw=="}"#;
        for (name, bytes) in [
            ("key", files.key.as_slice()),
            ("passphrase", files.passphrase.as_bytes()),
            ("salt", salt.as_bytes()),
        ] {
            let path = files.folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        files
    }

    pub(super) fn folder(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    pub(super) fn needles(&self) -> Vec<Needle> {
        let mut derived = vec![0; 32];
        let params = Params::new(19_456, 2, 1, Some(32)).unwrap();
        let salt: Vec<u8> = (0..16).collect();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(self.passphrase.as_bytes(), &salt, &mut derived)
            .unwrap();
        vec![
            Needle::passing("AES schedule of the root key", schedule(&self.key)),
            Needle::passing("AES schedule of the passphrase's root key", schedule(&derived)),
            Needle::passing("the passphrase", self.passphrase.clone().into_bytes()),
            Needle::held("the root key", self.key.clone()),
            Needle::held("the passphrase's root key", derived),
        ]
    }
}

/// The lines `name=value` of a helper, by name.
fn fields(told: &str) -> BTreeMap<&str, &str> {
    told.split(' ').filter_map(|field| field.split_once('=')).collect()
}

/// What the helper holds, as it told it.
pub(super) fn told(told: &str) -> Vec<Needle> {
    let fields = fields(told);
    let names = [
        "KeyVersionSecret",
        "SubjectSecret",
        "DataKey",
        "SubjectDataKey",
        "SealBuffer",
        "OpenBuffer",
        "Plaintext",
    ];
    let mut needles: Vec<_> =
        names.map(|name| Needle::held(name, unmasked(fields[name]))).into_iter().collect();
    let control = unmasked(fields["control"]);
    // A cipher that is there shows its schedule, at least where the processor computes AES.
    #[cfg(target_arch = "x86_64")]
    let shows = std::is_x86_feature_detected!("aes");
    #[cfg(not(target_arch = "x86_64"))]
    let shows = false;
    needles.push(Needle { name: CONTROL, bytes: schedule(&control), is_held: shows });
    needles
}

/// What came into being and passed while the helper sealed, opened, wrapped and unwrapped.
pub(super) fn derived(told: &str, files: &RootFiles) -> Vec<Needle> {
    let fields = fields(told);
    let mut needles = Vec::new();
    let data_key = unmasked(fields["DataKey"]);
    needles.push(Needle::passing("HMAC inner pad of the data key", xored(&data_key, 0x36)));
    needles.push(Needle::passing("HMAC outer pad of the data key", xored(&data_key, 0x5c)));

    let message = unhex(fields["message"]);
    let header = Header::parse(&message).unwrap();
    let digest = Context::empty().digest();
    let info = [b"keypod/v1/message", &header.as_bytes()[..39], &digest].concat();
    let mut output = [0; 64];
    Hkdf::<Sha256>::from_prk(&data_key).unwrap().expand(&info, &mut output).unwrap();
    assert_eq!(output[32..], header.as_bytes()[39..], "this is the derivation of FORMAT.md");
    let message_key = output[..32].to_vec();
    needles.push(Needle::passing("AES schedule of the message key", schedule(&message_key)));
    let (mac, encryption) = gcm_siv_keys(&message_key, &[0; 12]);
    needles.push(Needle::passing("POLYVAL key of the message", mac));
    needles.push(Needle::passing("AES schedule of the message's body", schedule(&encryption)));
    needles.push(Needle::passing("GCM-SIV key of the message", encryption));
    needles.push(Needle::passing("the message key", message_key));

    let wrapped = unhex(fields["wrapped"]);
    let (mac, encryption) = gcm_siv_keys(&files.key, &wrapped[1..13]);
    needles.push(Needle::passing("POLYVAL key of the wrapping", mac));
    needles.push(Needle::passing("AES schedule of the wrapping", schedule(&encryption)));
    needles.push(Needle::passing("GCM-SIV key of the wrapping", encryption));
    needles
}

fn xored(bytes: &[u8], with: u8) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ with).collect()
}

/// The two keys of RFC 8452, section 4: for authentication and for encryption.
fn gcm_siv_keys(key: &[u8], nonce: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let aes = Aes256::new(&Array::try_from(key).unwrap());
    let half_block = |counter: u32| {
        let mut block = Array::try_from(&[&counter.to_le_bytes(), nonce].concat()[..]).unwrap();
        aes.encrypt_block(&mut block);
        block[..8].to_vec()
    };
    let halves: Vec<_> = (0..6).map(half_block).collect();
    (halves[..2].concat(), halves[2..].concat())
}

/// Round keys 2 to 14 of AES-256 (FIPS 197, section 5.2): 0 and 1 are the key itself.
fn schedule(key: &[u8]) -> Vec<u8> {
    let s_box = s_box();
    let mut words: Vec<[u8; 4]> = key.chunks(4).map(|word| word.try_into().unwrap()).collect();
    let mut round_constant = 1;
    for at in 8..60 {
        let mut word = words[at - 1];
        if at % 8 == 0 {
            word.rotate_left(1);
        }
        if at % 4 == 0 {
            word = word.map(|byte| s_box[usize::from(byte)]);
        }
        if at % 8 == 0 {
            word[0] ^= round_constant;
            round_constant = doubled(round_constant);
        }
        for (byte, before) in word.iter_mut().zip(words[at - 8]) {
            *byte ^= before;
        }
        words.push(word);
    }
    words[8..].concat()
}

fn doubled(value: u8) -> u8 {
    (value << 1) ^ if value & 0x80 == 0 { 0 } else { 0x1b }
}

/// The S-box of AES, walking through the field with 3 and its inverse.
fn s_box() -> [u8; 256] {
    let mut s_box = [0x63; 256];
    let (mut value, mut inverse) = (1_u8, 1_u8);
    loop {
        value ^= doubled(value);
        inverse ^= inverse << 1;
        inverse ^= inverse << 2;
        inverse ^= inverse << 4;
        if inverse & 0x80 != 0 {
            inverse ^= 0x09;
        }
        let turned = (1..5).fold(inverse, |sum, by| sum ^ inverse.rotate_left(by));
        s_box[usize::from(value)] = turned ^ 0x63;
        if value == 1 {
            return s_box;
        }
    }
}

#[test]
fn the_schedule_is_that_of_fips_197() {
    let key = unhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    let schedule = schedule(&key);
    assert_eq!(hex(schedule[..8].to_vec()), "9ba354118e6925af");
    assert_eq!(hex(schedule[204..].to_vec()), "706c631e");
    assert!(Path::new("/proc/self/mem").exists(), "this suite needs Linux");
}
