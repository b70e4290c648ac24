//! Controllers written against WIT: from the core module that a compiler makes to the component that is deployed.

use crate::error::GuestBuildError;
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

/// Bindings made by `wit-bindgen` leave the world they were made for in a section of such a name.
const WORLD_SECTION: &str = "component-type";

/// The component that a module's own description of its world makes it; `None` for a module that has none, which is a
/// controller of the older interface.
///
/// # Errors
/// A module that is not what it says, an export that is missing say.
pub(crate) fn encode(module: &[u8]) -> Result<Option<Vec<u8>>, GuestBuildError> {
    if !speaks_of_a_world(module) {
        return Ok(None);
    }
    let encoded = ComponentEncoder::default().validate(true).module(module).and_then(|mut encoder| encoder.encode());
    encoded.map(Some).map_err(|error| GuestBuildError::Component { reason: format!("{error:#}") })
}

/// What is no module has no world either; whoever runs it says what is wrong.
fn speaks_of_a_world(module: &[u8]) -> bool {
    Parser::new(0)
        .parse_all(module)
        .map_while(Result::ok)
        .any(|payload| matches!(payload, Payload::CustomSection(section) if section.name().starts_with(WORLD_SECTION)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x01\0\0\0";

    /// With a custom section of that name and content.
    fn with_section(name: &str, content: &[u8]) -> Vec<u8> {
        let length = |length: usize| u8::try_from(length).unwrap();
        let mut module = EMPTY.to_vec();
        module.extend([0, length(1 + name.len() + content.len()), length(name.len())]);
        module.extend(name.as_bytes());
        module.extend(content);
        module
    }

    #[test]
    fn only_a_module_that_speaks_of_a_world_becomes_a_component() {
        for module in [EMPTY.to_vec(), with_section("name", b""), b"\0asm".to_vec(), Vec::new(), b"no module".to_vec()]
        {
            assert!(encode(&module).unwrap().is_none());
        }
    }

    #[test]
    fn a_description_that_is_none_is_refused() {
        let error = encode(&with_section("component-type:world", b"?")).unwrap_err();
        assert!(error.to_string().starts_with("the controller's WIT bindings"), "{error}");
    }
}
