//! Network policies, enforced in each pod's own network: who is not let through by both ends does not get through.
//!
//! Peers in other namespaces (names of the cluster, scrapers of metrics) and a node's cache of names are not here, so that nothing is let through for them.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::pods::{NODE, Pod, Pods, container, list};

/// From now on the policies hold.
pub fn enforce(pods: &Pods) {
    for name in pods.names() {
        let pod = pods.pod(&name);
        let mut nft = Command::new("nsenter")
            .arg(pod.network_file())
            .args(["nft", "--file", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("scripts/setup installs nftables");
        let rules = format!(
            "table inet pod {{\n{}{}}}\n",
            chain(pods, pod, "input", "Ingress"),
            chain(pods, pod, "output", "Egress")
        );
        nft.stdin.take().expect("is piped").write_all(rules.as_bytes()).expect("writes");
        assert!(nft.wait().expect("it ends").success(), "{name}:\n{rules}");
    }
}

/// What is let through into a pod, or out of it. A pod that no policy chooses is open.
fn chain(pods: &Pods, pod: &Pod, hook: &str, direction: &str) -> String {
    let policies = pods.objects("NetworkPolicy").map(|policy| &policy["spec"]);
    let policies: Vec<&Value> = policies
        .filter(|policy| list(&policy["policyTypes"]).iter().any(|kind| kind == direction))
        .filter(|policy| chooses(&policy["podSelector"], &pod.labels))
        .collect();
    let verdict = if policies.is_empty() { "accept" } else { "drop" };
    let (interface, address) = if hook == "input" { ("iif", "saddr") } else { ("oif", "daddr") };
    let mut lines = vec![
        format!("type filter hook {hook} priority 0; policy {verdict};"),
        format!("{interface} lo accept"),
        "ct state established,related accept".to_owned(),
        // A node always reaches its pods.
        format!("ip {address} {NODE} accept"),
    ];
    let (rules, ends) = if hook == "input" { ("ingress", "from") } else { ("egress", "to") };
    for rule in policies.iter().flat_map(|policy| list(&policy[rules])) {
        for peer in pods.names().iter().map(|name| pods.pod(name)).filter(|peer| is_one_of(peer, &rule[ends])) {
            let server = if hook == "input" { pod } else { peer };
            let ports = list(&rule["ports"]);
            let places = ports.iter().filter_map(|port| number(server, &port["port"]));
            let through = |place: String| format!("ip {address} {}{place} accept", peer.address);
            match ports {
                [] => lines.push(through(String::new())),
                _ => lines.extend(places.map(|port| through(format!(" tcp dport {port}")))),
            }
        }
    }
    format!("chain {hook} {{\n{}\n}}\n", lines.join("\n"))
}

fn is_one_of(pod: &Pod, peers: &Value) -> bool {
    list(peers).iter().any(|peer| {
        // A node's cache of names; other addresses outside the cluster are not here.
        assert!(peer["ipBlock"].is_null() || peer["ipBlock"]["cidr"] == "169.254.20.10/32", "{peer}");
        peer["podSelector"].is_object() && chooses(&peer["podSelector"], &pod.labels)
    })
}

/// Whether a selector (of labels alone) chooses what has these labels.
fn chooses(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().expect("a selector");
    assert!(wanted.keys().all(|key| key == "matchLabels"), "this selector is not known here: {selector}");
    let wanted = selector["matchLabels"].as_object();
    wanted.is_none_or(|wanted| wanted.iter().all(|(label, value)| labels[label] == *value))
}

/// The number of a port that is given by number, or by its name in a pod.
fn number(pod: &Pod, port: &Value) -> Option<u64> {
    let ports = list(&container(&pod.specification)["ports"]);
    port.as_u64().or_else(|| ports.iter().find(|own| own["name"] == *port)?["containerPort"].as_u64())
}
