//! Keys of an issuer, and tokens that they sign, as RFC 7515 says and by other code than that which checks them where
//! there is any.

use base64::Engine as _;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::crypto::sign;
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize,
    SigningKey as _,
};

use super::*;
use crate::secret::URL_SAFE_NO_PAD;

pub(super) struct Signer {
    pair: KeyPair,
    kid: &'static str,
    alg: &'static str,
}

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes.as_ref())
}

impl Signer {
    pub(super) fn es256(kid: &'static str) -> Self {
        Self { pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), kid, alg: "ES256" }
    }

    pub(super) fn ed25519(kid: &'static str) -> Self {
        Self { pair: KeyPair::generate_for(&PKCS_ED25519).unwrap(), kid, alg: "EdDSA" }
    }

    pub(super) fn rs256(kid: &'static str) -> Self {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        Self { pair, kid, alg: "RS256" }
    }

    pub(super) fn alg(&self) -> &'static str {
        self.alg
    }

    /// The public key in each form that somebody might take for a secret.
    pub(super) fn public_forms(&self) -> Vec<Vec<u8>> {
        let jwk = self.jwk();
        let mut forms = vec![
            self.pair.public_key_pem().into_bytes(),
            self.pair.public_key_pem().trim().as_bytes().to_vec(),
            self.pair.public_key_raw().to_vec(),
            self.pair.der_bytes().to_vec(),
            jwk.to_string().into_bytes(),
            Vec::new(),
        ];
        for name in ["n", "x", "y"] {
            if let Some(text) = jwk[name].as_str() {
                forms.push(text.as_bytes().to_vec());
                forms.push(URL_SAFE_NO_PAD.decode(text).unwrap());
            }
        }
        forms
    }

    pub(super) fn jwk(&self) -> Value {
        let raw = self.pair.public_key_raw();
        let mut jwk = json!({"kid": self.kid, "use": "sig", "alg": self.alg});
        let parts = match self.alg {
            "RS256" => {
                // SEQUENCE { INTEGER of 257 bytes, INTEGER 65537 }, in DER.
                let (n, e) = (&raw[9..9 + 256], &raw[raw.len() - 3..]);
                vec![("kty", "RSA".to_owned()), ("n", base64url(n)), ("e", base64url(e))]
            }
            "ES256" => vec![
                ("kty", "EC".to_owned()),
                ("crv", "P-256".to_owned()),
                ("x", base64url(&raw[1..33])),
                ("y", base64url(&raw[33..])),
            ],
            _ => vec![
                ("kty", "OKP".to_owned()),
                ("crv", "Ed25519".to_owned()),
                ("x", base64url(raw)),
            ],
        };
        for (name, value) in parts {
            jwk[name] = value.into();
        }
        jwk
    }

    pub(super) fn header(&self) -> Value {
        json!({"alg": self.alg, "kid": self.kid, "typ": "JWT"})
    }

    pub(super) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    pub(super) fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64url(header), base64url(claims));
        let signature = match self.alg {
            "ES256" => {
                let key = EncodingKey::from_ec_der(self.pair.serialized_der());
                sign(message.as_bytes(), &key, Algorithm::ES256).unwrap()
            }
            _ => base64url(self.pair.sign(message.as_bytes()).unwrap()),
        };
        format!("{message}.{signature}")
    }

    /// Signed with this RSA key by PSS.
    pub(super) fn sign_ps256(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64url(header), base64url(claims));
        // The RSAPrivateKey is what PKCS #8 has after 26 bytes.
        let key = EncodingKey::from_rsa_der(&self.pair.serialized_der()[26..]);
        format!("{message}.{}", sign(message.as_bytes(), &key, Algorithm::PS256).unwrap())
    }

    /// Signed with a symmetric key.
    pub(super) fn sign_hs256(secret: &[u8], header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64url(header), base64url(claims));
        let key = EncodingKey::from_secret(secret);
        format!("{message}.{}", sign(message.as_bytes(), &key, Algorithm::HS256).unwrap())
    }
}

pub(super) fn jwks(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()}).to_string()
}
