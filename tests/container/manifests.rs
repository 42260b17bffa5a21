//! The files for containers that we ship: what is to be checked without a container (`container.rs` has the rest).

use yaml_rust2::{Yaml, YamlLoader};

const DOCKERFILE: &str = include_str!("../../examples/deploy/docker/Dockerfile");
const DEPLOYMENT: &str = include_str!("../../examples/deploy/kubernetes/deployment.yaml");
const SERVICE: &str = include_str!("../../examples/deploy/kubernetes/service.yaml");

#[test]
fn the_grace_period_is_the_sum_of_what_it_has_to_hold() {
    let pod = &documents(DEPLOYMENT)[0]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let pre_stop = list(&container["lifecycle"]["preStop"]["exec"]["command"]);
    let [sleep, pre_stop] = &pre_stop[..] else { panic!("{pre_stop:?}") };
    assert_eq!(sleep, "sleep");
    let command = list(&container["command"]);
    let shutdown =
        command.iter().skip_while(|word| *word != "--shutdown-timeout").nth(1).expect("a deadline");
    let shutdown = humantime::parse_duration(shutdown).expect("a duration").as_secs();
    let grace = pod["terminationGracePeriodSeconds"].as_i64().expect("a number");
    let slack = grace - pre_stop.parse::<i64>().unwrap() - i64::try_from(shutdown).unwrap();
    assert_eq!(slack, 5, "{grace} s, as the comment at its head adds them up");
    // Every number that the comment names is one of these.
    for line in [format!("preStop {pre_stop:>19} s"), format!("= terminationGracePeriodSeconds: {grace}")] {
        assert!(DEPLOYMENT.contains(&line), "{line:?}");
    }
    assert!(DEPLOYMENT.contains(&format!("+ --shutdown-timeout {shutdown:>8} s")));
}

#[test]
fn the_manifests_belong_together() {
    let deployment = &documents(DEPLOYMENT)[0];
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    let (service, budget) = (&documents(SERVICE)[0], &documents(SERVICE)[1]);
    assert_eq!(&service["spec"]["selector"], labels);
    assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let port = &container["ports"][0];
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    for probe in ["readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], port["name"]);
    }
    // Slower than a start may take, and the supervisor's default for that is 60 s.
    let live = &container["livenessProbe"];
    let patience = live["periodSeconds"].as_i64().unwrap() * live["failureThreshold"].as_i64().unwrap();
    assert!(patience >= 60, "{patience} s");
    let address = format!("0.0.0.0:{}", port["containerPort"].as_i64().unwrap());
    for words in [&container["command"], &container["args"]] {
        assert!(list(words).contains(&address), "{words:?}");
    }
    let names =
        |list: &Yaml| -> Vec<_> { list.as_vec().unwrap().iter().map(|one| one["name"].clone()).collect() };
    let volumes = names(&deployment["spec"]["template"]["spec"]["volumes"]);
    assert_eq!(names(&container["volumeMounts"]), volumes);
}

#[test]
fn the_image_starts_the_supervisor_itself() {
    let instructions: Vec<(&str, &str)> = DOCKERFILE
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| line.split_once(' ').expect("an instruction and its arguments"))
        .collect();
    let known = ["FROM", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "ENTRYPOINT", "CMD", "STOPSIGNAL"];
    for (instruction, _) in &instructions {
        assert!(known.contains(instruction), "{instruction}");
    }
    let of = |wanted: &str| -> Vec<&str> {
        instructions.iter().filter(|(name, _)| *name == wanted).map(|(_, rest)| *rest).collect()
    };
    // As lists: by a shell, PID 1 would be that, and no signal would arrive.
    for what in [of("ENTRYPOINT"), of("CMD")] {
        let [words] = what[..] else { panic!("one of each: {what:?}") };
        assert!(words.starts_with("[\"") && words.ends_with("\"]"), "{words}");
    }
    assert!(of("ENTRYPOINT")[0].starts_with(r#"["heirloom", "run", "--listen", "#));
    let mut stages: Vec<_> =
        of("FROM").iter().filter_map(|from| from.split_once(" AS ")).map(|(_, name)| name).collect();
    // The checkout, as the command at the head of the file names it.
    assert!(DOCKERFILE.contains("docker build -t server --build-context heirloom=../heirloom "));
    stages.push("heirloom");
    for copy in of("COPY").iter().filter_map(|copy| copy.strip_prefix("--from=")) {
        assert!(stages.contains(&copy.split(' ').next().unwrap()), "{copy}");
    }
    let minimum = env!("CARGO_PKG_RUST_VERSION");
    assert!(of("FROM")[0].starts_with(&format!("rust:{minimum}-")), "the toolchain that the crate asks for");
    assert_eq!(of("STOPSIGNAL"), ["SIGTERM"]);
}

fn documents(text: &str) -> Vec<Yaml> {
    let documents = YamlLoader::load_from_str(text).unwrap_or_else(|error| panic!("{error}"));
    for document in &documents {
        assert!(document["apiVersion"].as_str().is_some() && document["kind"].as_str().is_some());
    }
    documents
}

fn list(words: &Yaml) -> Vec<String> {
    words.as_vec().expect("a list").iter().map(|word| word.as_str().expect("a string").to_owned()).collect()
}
