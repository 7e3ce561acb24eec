//! The manifests: current, readable by every YAML dialect, and consistent with each other.

#[test]
fn print() {
    let o = no502::deploy::Options::default();
    std::fs::write("/tmp/no502-default.yaml", no502::deploy::render(&o)).unwrap();
    let o = no502::deploy::Options { webhook_url: Some("https://127.0.0.1:8443".parse().unwrap()), ..o };
    std::fs::write("/tmp/no502-url.yaml", no502::deploy::render(&o)).unwrap();
}
