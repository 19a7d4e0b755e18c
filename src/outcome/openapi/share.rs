//! What several operations answer alike stands among a document's components, once.

use std::collections::BTreeMap;

use utoipa::openapi::path::Operation;
use utoipa::openapi::{Components, OpenApi, PathItem, Ref, RefOr, Response};

/// Puts every refusal that two operations or more have among the components.
pub fn share_responses(document: &mut OpenApi) {
    let mut seen: BTreeMap<String, Vec<(Response, usize)>> = BTreeMap::new();
    for (status, response) in operations(document).flat_map(|operation| &operation.responses.responses) {
        let RefOr::T(response) = response else { continue };
        if status.starts_with('2') {
            continue;
        }
        let alike = seen.entry(status.clone()).or_default();
        match alike.iter_mut().find(|(known, _)| known == response) {
            Some((_, count)) => *count += 1,
            None => alike.push((response.clone(), 1)),
        }
    }
    let mut names: Vec<(String, String, Response)> = Vec::new();
    for (status, alike) in seen {
        let several = alike.into_iter().filter(|(_, count)| *count > 1);
        for (index, (response, _)) in several.enumerate() {
            let ending = if index == 0 { String::new() } else { format!("_{}", index + 1) };
            names.push((format!("Status{status}{ending}"), status.clone(), response));
        }
    }
    for operation in document.paths.paths.values_mut().flat_map(operations_mut) {
        for (status, response) in &mut operation.responses.responses {
            let known = |(_, of, shared): &&(String, String, Response)| {
                of == status && matches!(response, RefOr::T(own) if own == shared)
            };
            if let Some((name, ..)) = names.iter().find(known) {
                *response = RefOr::Ref(Ref::from_response_name(name));
            }
        }
    }
    let components = document.components.get_or_insert_with(Components::new);
    components.responses.extend(names.into_iter().map(|(name, _, response)| (name, RefOr::T(response))));
}

fn operations(document: &OpenApi) -> impl Iterator<Item = &Operation> {
    document
        .paths
        .paths
        .values()
        .flat_map(|item| [&item.get, &item.post, &item.delete].into_iter().filter_map(Option::as_ref))
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.delete].into_iter().filter_map(Option::as_mut)
}
