//! What `edge.toml` may say, and what is told about what it may not.

use super::*;

const WHOLE: &str = r#"
[device]
id = "p1-agent"
warehouse = "W1"
station = "W1-P1"
data = "/var/lib/weir-edge"

[publish]
to = "kafka"
brokers = "broker:9093"
kafka = { "security.protocol" = "ssl", "ssl.ca.location" = "/etc/weir/ca.pem" }

[topics]
scans = "prod.scans"

[spool]
group = "20 ms"
frames = { bytes = "128 MiB", age = "6 hours" }

[[scanner]]
kind = "serial"
path = "/dev/ttyACM0"
baud = 115200

[[camera]]
kind = "command"
command = ["rpicam-vid", "-o", "-"]
trigger = "gpio"
burst = 5

[gpio.trigger]
pin = 17

[gpio.lamp]
pin = 27
lit = "low"

[clock]
hold = "1 minute"
"#;

fn errors(text: &str) -> Vec<String> {
    Config::parse("edge.toml", text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn a_whole_file_reads() {
    let config = Config::parse("edge.toml", WHOLE).unwrap();
    assert_eq!(config.device.station, "W1-P1");
    assert_eq!(
        (config.lanes[0].topic.as_str(), config.lanes[1].topic.as_str()),
        ("prod.scans", "detections")
    );
    assert_eq!((config.lanes[3].bytes, config.lanes[3].age_us), (128 << 20, 6 * 3_600_000_000));
    assert_eq!(config.group_us, 20_000);
    assert_eq!(config.cameras[0].trigger, Trigger::Gpio { settle_us: 150_000, burst: 5 });
    assert_eq!(config.lamp, Some(LampPin { pin: 27, active_high: false }));
    assert!(matches!(&config.to, To::Kafka { properties, .. } if properties.len() == 2));
}

#[test]
fn what_a_device_sees_decides_what_it_writes() {
    let writes = |text: &str| -> Vec<&str> {
        let config = Config::parse("edge.toml", text).unwrap_or_else(|e| panic!("{}", e[0]));
        (0..LANES.len()).filter(|lane| config.writes(*lane)).map(|lane| LANES[lane].0).collect()
    };
    let base = "device = { id = 'd', warehouse = 'W', station = 'S' }\npublish = { to = 'spool' }\n";
    let camera = "[[camera]]\nkind = 'folder'\npath = 'x'\n";
    let codes = "[camera.barcodes]\nformats = ['EAN13', 'QR']\nrate = 5\n";
    assert_eq!(writes(base), ["device_health"]);
    assert_eq!(writes(&format!("{base}{camera}")), ["device_health", "frames"]);
    assert_eq!(writes(&format!("{base}{camera}{codes}")), ["scans", "device_health", "frames"]);
    let detect = format!("{base}[detect]\nconfidence = 0.4\n{camera}");
    assert_eq!(writes(&detect), ["detections", "device_health", "frames"]);
    // A scan is a scan, whoever read it.
    let another = "[[camera]]\nname = 'c2'\nkind = 'folder'\npath = 'y'\ntrigger = 'scan'\n";
    writes(&format!("{base}{camera}{codes}{another}"));

    let config = Config::parse("edge.toml", &format!("{base}{camera}{codes}")).unwrap();
    let read = config.cameras[0].barcodes.as_ref().unwrap();
    assert_eq!(read.formats.iter().map(|f| symbology_word(*f)).collect::<Vec<_>>(), ["EAN13", "QR"]);
    assert_eq!((read.rate, read.agree_us, read.debounce_us), (Some(5.0), 2_000_000, 3_000_000));

    for (text, word) in [
        (format!("{base}{camera}[camera.barcodes]\n"), "`camera.barcodes.formats` is missing"),
        (format!("{base}{camera}[camera.barcodes]\nformats = ['EAN8']\n"), "names `EAN8`"),
        (format!("{base}{camera}{codes}debonce = '1 s'\n"), "expected  `debounce`"),
        (format!("{base}{camera}barcode = {{ formats = ['QR'] }}\n"), "expected  `barcodes`"),
        (format!("{base}[detect]\n"), "there is no camera"),
        (format!("{base}{camera}{camera}"), "`camera.name` is `camera`, as another camera's"),
        (format!("{base}{}", "[[scanner]]\nname = 's'\nkind = 'stdin'\n".repeat(2)), "as another scanner's"),
        (format!("{base}{camera}fps = 0.5\n"), "`camera.fps` leaves a pause as long as `stall`"),
        (format!("{base}[topics]\nscans = 'x'\nframes = 'x'\n"), "`x`, the topic of `scans` too"),
        (format!("{base}[topics]\nframes = 'scans'\n"), "`scans`, the topic of `scans` too"),
        (format!("{base}[topics]\nscanz = 'x'\n"), "expected  `scans`"),
        (format!("{base}[detect]\nsha256 = 'abc'\n{camera}"), "`detect.sha256` is no sha256"),
        (format!("{base}[detect]\nmodle = 'x'\n{camera}"), "expected  `model`"),
        (format!("{base}[detect]\nconfidence = 1.5\n{camera}"), "detect.confidence"),
    ] {
        let errors = errors(&text);
        assert!(errors.iter().any(|e| e.contains(word)), "{word}: {errors:?}");
    }
}

#[test]
fn a_store_takes_frames_that_are_too_large_for_a_record() {
    let base =
        "device = { id = 'd', warehouse = 'W', station = 'S' }\n[[camera]]\nkind = 'folder'\npath = 'x'\n";
    let http = "[publish]\nto = 'http'\nurl = 'https://weir:1'\ntoken = 'log'\n";
    let kafka = "[publish]\nto = 'kafka'\nbrokers = 'b:1'\n";
    let parse = |more: &str| {
        Config::parse("edge.toml", &format!("{base}{more}")).unwrap_or_else(|e| panic!("{}", e[0]))
    };

    let none = parse(http);
    assert!(none.frame_store.is_none() && none.cameras[0].frame_bytes_max == 256 << 10);
    let beside = parse(&format!("{http}[frame_store]\n"));
    let store = beside.frame_store.unwrap();
    assert_eq!((store.inline_bytes, beside.cameras[0].frame_bytes_max), (256 << 10, 8 << 20));
    assert!(matches!(&store.at, StoreAt::Http(t) if t.url == "https://weir:1" && t.token == "log"));
    let other = parse(&format!(
        "{http}[frame_store]\nto = 'https://store:2'\ntoken = 'own'\ninline_bytes = '64 KiB'\n"
    ));
    let store = other.frame_store.unwrap();
    assert!(matches!(&store.at, StoreAt::Http(t) if t.url == "https://store:2" && t.token == "own"));
    assert_eq!(store.inline_bytes, 64 << 10);
    let folder = parse(&format!("{kafka}[frame_store]\nto = '/mnt/frames'\n"));
    assert!(matches!(folder.frame_store.unwrap().at, StoreAt::Folder(f) if f == Path::new("/mnt/frames")));
    let larger =
        "kafka = { 'message.max.bytes' = '2000000' }\n[frame_store]\nto = '/x'\ninline_bytes = '1000 KiB'\n";
    assert_eq!(parse(&format!("{kafka}{larger}")).frame_store.unwrap().inline_bytes, 1000 << 10);

    for (more, word) in [
        (format!("{kafka}[frame_store]\n"), "`frame_store.to` is missing"),
        (format!("{kafka}[frame_store]\nto = 'https://store'\n"), "`frame_store.token` is missing"),
        (
            format!("{kafka}[frame_store]\nto = 'http://store'\ntoken = 'own'\n"),
            "https, or frame_store.insecure = true",
        ),
        (format!("{kafka}[frame_store]\nto = '/x'\ninline_bytes = '1 MiB'\n"), "more than the log takes"),
        (format!("{http}[frame_store]\ninline_bytes = '1 MiB'\n"), "more than the log takes"),
        (format!("{http}[frame_store]\ninline = '1 KiB'\n"), "expected  one of"),
        (
            format!("{http}[frame_store]\n[spool]\nframes = {{ bytes = '10 MiB' }}\n"),
            "`spool.frames.bytes` is too little",
        ),
    ] {
        let errors = errors(&format!("{base}{more}"));
        assert!(errors.iter().any(|e| e.contains(word)), "{word}: {errors:?}");
    }
    let errors = errors(&format!("{}frame_bytes = '9 MiB'\n{http}", base));
    assert!(errors.iter().any(|e| e.contains("`camera.frame_bytes` is too much")), "{errors:?}");
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_and_its_place() {
    let wrong = WHOLE.replace("baud = 115200", "buad = 115200").replace("[clock]\nhold", "[clock]\nhodl");
    let errors = errors(&wrong);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("W0203  edge.toml:23:1\n  `scanner.buad` is not known"), "{}", errors[0]);
    assert!(errors[0].contains("expected  `baud`"), "{}", errors[0]);
    assert!(errors[1].contains("`hold`") && errors[1].contains("edge.toml:39:1"), "{}", errors[1]);
    let table = errors_of("[divice]\nid = 1");
    assert!(table.iter().any(|e| e.contains("`divice` is not known") && e.contains("`device`")), "{table:?}");
}

fn errors_of(text: &str) -> Vec<String> {
    errors(text)
}

#[test]
fn values_that_cannot_be_are_all_named_at_once() {
    for (from, to, word) in [
        ("baud = 115200", "baud = 5", "scanner.baud"),
        ("\"6 hours\"", "\"6 fortnights\"", "spool.frames.age"),
        ("\"128 MiB\"", "128", "spool.frames.bytes"),
        ("pin = 17", "pin = 99", "gpio.trigger.pin"),
        (
            "kind = \"serial\"\npath = \"/dev/ttyACM0\"\nbaud = 115200",
            "kind = \"tcp\"\naddress = \"r:1\"\ntimeout = \"1 s\"",
            "no use over TCP",
        ),
        ("[gpio.trigger]\npin = 17", "", "[gpio.trigger]"),
        ("id = \"p1-agent\"", "", "device.id"),
        ("id = \"p1-agent\"", "id = \"a/b\"", "has a `/`"),
        ("station = \"W1-P1\"", "station = \"W1\\nP1\"", "`device.station` has a control character"),
        ("baud = 115200", "symbology = \"EAN-13\"", "`scanner.symbology` is `EAN-13`"),
        (
            "kind = \"command\"",
            "kind = \"http\"\nurl = \"10.0.0.5/video\"",
            "`camera.url` is `10.0.0.5/video`",
        ),
        (
            "to = \"kafka\"",
            "to = \"http\"\ntoken = \"t\"\nurl = \"weir:8443\"",
            "`publish.url` is `weir:8443`",
        ),
        ("to = \"kafka\"", "to = \"kafak\"", "publish.to"),
        ("\"ssl\"", "\"sasl_plaintext\"", "SASL without TLS"),
        ("\"security.protocol\"", "\"acks\"", "weir sets acks itself"),
        ("command = [\"rpicam-vid\", \"-o\", \"-\"]", "", "camera.command"),
        ("[[camera]]", "[camera]", "[[camera]]"),
        ("[clock]", "[clock", "W0201"),
    ] {
        let changed = WHOLE.replace(from, to);
        assert_ne!(changed, WHOLE, "{from}");
        let errors = errors(&changed);
        assert!(errors.iter().any(|e| e.contains(word)), "{word}: {errors:?}");
        assert!(errors.iter().all(|e| e.contains("edge.toml:") && e.contains("did not start")), "{errors:?}");
    }
    assert!(errors("").len() >= 4, "{:?}", errors(""));
}

#[test]
fn secrets_are_looked_up_and_never_shown() {
    let http = |token: &str| {
        WHOLE.replace(
            "to = \"kafka\"\nbrokers = \"broker:9093\"\nkafka = { \"security.protocol\" = \"ssl\", \"ssl.ca.location\" = \"/etc/weir/ca.pem\" }",
            &format!("to = \"http\"\nurl = \"https://weir:8443\"\ntoken = \"{token}\""),
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "hush\n").unwrap();
    let config = Config::parse("edge.toml", &http(&format!("file:{}", path.display()))).unwrap();
    assert!(matches!(&config.to, To::Http(target) if target.token == "hush"));
    for (url, shown) in [
        ("http://weir:8080", true),
        ("http://10.0.0.1/x", true),
        ("http://127.0.0.1.example:1", true),
        ("http://localhost@weir:8080", true),
        ("HTTP://weir:8080", true),
        ("http://127.0.0.9:8080", false),
        ("http://[::1]:8080", false),
        ("http://localhost:8080/", false),
        ("https://weir:8443", false),
    ] {
        let plain = http("t").replace("https://weir:8443", url);
        assert_eq!(errors(&plain).iter().any(|e| e.contains("reads the token")), shown, "{url}");
        assert!(
            errors(&plain.replace("to = \"http\"", "to = \"http\"\ninsecure = true")).is_empty(),
            "{url}"
        );
    }
    let missing = errors(&http("env:WEIR_NO_SUCH_VARIABLE"));
    assert!(missing[0].contains("publish.token"), "{missing:?}");
}

/// The page's example reads, and names every setting that there is.
#[test]
fn the_page_shows_every_setting() {
    let page = include_str!("../../../docs/EDGE.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let (config, mut names) = Config::parse_named("docs/EDGE.md", example);
    let config = config.unwrap_or_else(|e| panic!("{}", e[0]));
    assert_eq!((config.scanners.len(), config.cameras.len(), config.lanes.len()), (2, 3, 4));
    assert!(config.trigger.is_some() && config.lamp.is_some());
    let http = "publish = { to = \"http\", url = \"u\", token = \"t\" }";
    names.extend(Config::parse_named("x", http).1);
    assert!(names.len() > 45, "{names:?}");
    for name in names {
        let word = name.rsplit('.').next().unwrap();
        let shown = [format!("{word} = "), format!("[{name}"), format!("`{word}`")];
        assert!(shown.iter().any(|s| page.contains(s)), "`{name}` is not in docs/EDGE.md");
    }
}
