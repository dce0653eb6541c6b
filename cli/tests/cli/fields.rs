//! Texts of equations from outside.

use super::*;

/// The text that the help teaches with.
fn taught() -> String {
    let help = succeed(folder().path(), &["check-field", "--help"]);
    let lines =
        help.lines().map(str::trim).skip_while(|line| !line.starts_with('#')).take_while(|line| !line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_text_of_the_help_is_checked_and_listed() {
    let folder = folder();
    fs::write(folder.path().join("lotka.txt"), taught()).expect("written");
    let printed = succeed(folder.path(), &["check-field", "lotka.txt"]);
    for part in [
        "drift\n",
        "noise\n",
        "  from 2 rows to 2, with 51 parameters",
        "a: parameter 0, as e^parameter",
        "friction: parameters 2..51, layers 1 -> 16 -> 1",
        "  gradient of b: value",
        "  gradient of friction layer 2: [kept",
        "functions",
        "gradient check: passed",
    ] {
        assert!(printed.contains(part), "{part:?} in\n{printed}");
    }
    let printed = succeed(folder.path(), &["check-field", "lotka.txt", "--json", "--state", "10,5", "--time", "-1"]);
    let report: Value = serde_json::from_str(&printed).expect("stdout is JSON");
    assert_eq!(report["passed"], true);
    let drift = &report["fields"][0];
    assert_eq!(
        (&drift["name"], &drift["parameters"], &report["fields"][1]["name"]),
        (&"drift".into(), &51.into(), &"noise".into())
    );
    assert_eq!(drift["groups"][1]["bound"], "exp");
    // The network's 16 tanh; the exponentials of `a` and `b`.
    assert_eq!(drift["cost"]["value"]["functions"], 18);
    let parts: Vec<&str> =
        drift["check"]["parts"].as_array().expect("parts").iter().filter_map(|part| part["name"].as_str()).collect();
    assert_eq!(parts, ["state", "a", "b", "friction"]);
}

#[test]
fn maps_are_checked_too() {
    let folder = folder();
    let text = "input x[3]\nnetwork f = mlp(3, 5, 2) relu output_tanh\noutput z = f(x), length = sqrt(dot(x, x)), last = x[2]\n";
    fs::write(folder.path().join("map.txt"), text).expect("written");
    let printed = succeed(folder.path(), &["check-field", "map.txt"]);
    for part in ["map\n", "  from 3 rows to 4, with 32 parameters", "gradient check: passed"] {
        assert!(printed.contains(part), "{part:?} in\n{printed}");
    }
}

#[test]
fn what_is_wrong_with_a_text_is_told_by_file_and_place() {
    let folder = folder();
    let write = |text: &str| fs::write(folder.path().join("f.txt"), text).expect("written");
    write("# rates\nprey' = 1.1*pray\n");
    let places =
        ["f.txt: line 2, column 13: unknown name `pray`: did you mean `prey`?", "2 | prey' = 1.1*pray", "    ^^^^"];
    refuse(folder.path(), &["check-field", "f.txt"], 1, &places);
    write("x' = v; v' = -x");
    refuse(folder.path(), &["check-field", "f.txt", "--state", "1"], 1, &["--state has 1 numbers: give it 2"]);
    refuse(folder.path(), &["check-field", "no.txt"], 1, &["no.txt"]);
    write("y' = ln(y)");
    refuse(folder.path(), &["check-field", "f.txt", "--state", "-1"], 1, &["choose another point"]);
    fs::write(folder.path().join("f.txt"), [0xff, 0xfe]).expect("written");
    refuse(folder.path(), &["check-field", "f.txt"], 1, &["f.txt: is no text in UTF-8"]);
}

#[test]
fn derivatives_that_differ_are_an_exit_code() {
    let folder = folder();
    fs::write(folder.path().join("kink.txt"), "y' = -relu(y)").expect("written");
    succeed(folder.path(), &["check-field", "kink.txt", "--state", "0.1"]);
    let output = run(folder.path(), &["check-field", "kink.txt", "--state", "0"]);
    assert_eq!(output.status.code(), Some(1), "at the kink");
    assert!(stdout(&output).contains("gradient check: FAILED"), "{}", stdout(&output));
    assert!(stderr(&output).contains("a kink or a pole"), "{}", stderr(&output));
}
