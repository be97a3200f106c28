//! The schema and the packs that Keypod ships, built in: the files of `policies/`.

/// What policies can speak of.
pub(super) const SCHEMA: &str = include_str!("../../../policies/schema.cedarschema");
/// The names of a request's context that they can look at, where a folder does not say.
pub(super) const CONTEXT: &str = include_str!("../../../policies/context.cedarschema");

/// Every pack.
pub const PACKS: &[(&str, &str)] = &[
    ("baseline", include_str!("../../../policies/packs/baseline.cedar")),
    ("phi", include_str!("../../../policies/packs/phi.cedar")),
    ("operators", include_str!("../../../policies/packs/operators.cedar")),
    ("emergency", include_str!("../../../policies/packs/emergency.cedar")),
    ("auditors", include_str!("../../../policies/packs/auditors.cedar")),
];

/// The text of a pack.
#[must_use]
pub fn pack(name: &str) -> Option<&'static str> {
    PACKS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The names of all packs, for messages.
#[must_use]
pub fn names() -> String {
    PACKS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
