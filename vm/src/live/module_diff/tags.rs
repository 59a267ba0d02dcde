//! Tags of a new module, which have to be those of the running one.
//!
//! Instances have just the tags that they were made with, and exceptions on their way, and those that frames have
//! caught, are told apart by them. So both modules must have the same tags in the same order.

use super::Diff;
use super::refusal::ModuleRefusal;
use crate::module::{Item, ModuleState};
use crate::types::printable::PrintableName;
use midair_tiers::ValType;

/// What a tag is known by.
#[derive(PartialEq, Eq)]
struct Known<'a> {
    import: Option<(&'a str, &'a str)>,
    name: Option<&'a str>,
    params: &'a [ValType],
}

fn known(module: &ModuleState) -> Vec<Known<'_>> {
    let tags = 0..module.env.tags.len() as u32;
    let mut known: Vec<Known<'_>> = tags
        .map(|tag| Known {
            import: None,
            name: module.tag_name(tag),
            params: module.env.tag_params(tag),
        })
        .collect();
    for import in &module.imports {
        if let Item::Tag(tag) = import.item {
            known[tag as usize].import = Some((&import.module, &import.name));
        }
    }
    known
}

/// How a person is told of a tag.
fn label(tag: &Known<'_>, index: usize) -> String {
    match (tag.name, tag.import) {
        (Some(name), _) | (None, Some((_, name))) => format!("tag `{}`", PrintableName(name)),
        (None, None) => format!("tag {index}"),
    }
}

fn types(params: &[ValType]) -> String {
    let params: Vec<String> = params.iter().map(ToString::to_string).collect();
    format!("({})", params.join(", "))
}

impl Diff<'_> {
    pub(super) fn tags(&mut self) {
        let (loaded, new) = (self.live.loaded.clone(), self.new.clone());
        let (live, new) = (known(&loaded), known(&new));
        for (i, tag) in new.iter().enumerate() {
            let Some(before) = live.get(i) else {
                self.refuse(ModuleRefusal::ItemAdded { item: label(tag, i) });
                continue;
            };
            // Names may have been stripped.
            let same_name = tag.name.is_none() || before.name.is_none() || tag.name == before.name;
            if !same_name || tag.import != before.import {
                let (old, new) = (label(before, i), label(tag, i));
                self.refuse(ModuleRefusal::TagReplaced { index: i as u32, old, new });
            } else if tag.params != before.params {
                let (old, new) = (types(before.params), types(tag.params));
                self.refuse(ModuleRefusal::TagType { tag: label(tag, i), old, new });
            }
        }
        for (i, tag) in live.iter().enumerate().skip(new.len()) {
            self.refuse(ModuleRefusal::TagRemoved { tag: label(tag, i) });
        }
    }
}
