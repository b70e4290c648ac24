//! `--help` is the reference.

use crate::run::Place;

#[test]
fn help_of_the_program() {
    let ran = Place::bare().run(&["--help"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(ran.stdout);
}

#[test]
fn help_of_each_command() {
    let place = Place::bare();
    let commands: &[&[&str]] = &[
        &["new"],
        &["build"],
        &["wit"],
        &["bundle"],
        &["deploy"],
        &["prove"],
        &["witness"],
        &["execute"],
        &["call"],
        &["tasks"],
        &["tasks", "list"],
        &["tasks", "proof"],
        &["tasks", "recording"],
        &["logs"],
        &["replay"],
        &["files"],
        &["files", "get"],
        &["image"],
        &["verify"],
        &["vk"],
        &["export", "solidity"],
        &["calldata"],
        &["programs"],
        &["controller"],
        &["controller", "rollback"],
        &["controller", "get"],
        &["provers"],
        &["provers", "add"],
        &["domains"],
        &["domains", "add"],
        &["domains", "append"],
        &["domains", "prove-state"],
        &["roots"],
        &["roots", "transitions"],
        &["opening"],
        &["events"],
        &["webhooks"],
        &["webhooks", "add"],
        &["webhooks", "deliveries"],
        &["keys"],
        &["keys", "create"],
        &["owners"],
        &["owners", "set"],
        &["whoami"],
        &["storage"],
        &["status"],
    ];
    let mut all = String::new();
    for command in commands {
        let ran = place.run(&[command, &["--help"][..]].concat());
        assert_eq!(ran.code, 0, "{command:?}: {}", ran.all());
        all += &format!("$ cargo coprocessor {} --help\n{}\n", command.join(" "), ran.stdout);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn version() {
    let ran = Place::bare().run(&["--version"]);
    assert_eq!(ran.stdout, concat!("cargo-coprocessor ", env!("CARGO_PKG_VERSION"), "\n"));
}
