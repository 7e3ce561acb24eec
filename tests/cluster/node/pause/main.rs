//! The first process of every pod on the test node: it holds the pod's namespaces and does nothing.

fn main() {
    loop {
        std::thread::park();
    }
}
