// Which URIs a client may open, and which the broker must not resolve.
import Testing

@testable import Broker
@testable import Streams

@Suite("Connection URIs")
struct ConnectURITests {
  @Test(
    "the broker passes on a URI of a local daemon unchanged",
    arguments: [
      ("qemu:///system", "qemu", "qemu:///system", false),
      ("qemu:///session", "qemu", "qemu:///session", true),
      ("qemu+unix:///system", "qemu", "qemu:///system", false),
      ("test:///default", "test", "test:///default", false),
      ("qemu:///system?a=b;c=%26&=d#f", "qemu", "qemu:///system?a=b;c=%26&=d", false),
      ("lxc:///", "lxc", "lxc:///", false), ("lxc://", "lxc", "lxc://", false),
      ("xen:///", "xen", "xen:///", false),
      ("openvz:///system", "openvz", "openvz:///system", false),
      ("vbox:///session", "vbox", "vbox:///session", true),
      ("vmwareplayer:///session", "vmwareplayer", "vmwareplayer:///session", true),
      ("ch:///system", "ch", "ch:///system", false), ("vz:///system", "vz", "vz:///system", false),
      ("bhyve:///system", "bhyve", "bhyve:///system", false),
      ("secret:///session", "secret", "secret:///session", true),
      ("storage:///system", "storage", "storage:///system", false),
      ("xen", "xen", "xen:///system", false),
      ("xen://", "xen", "xen:///system", false),
      ("qemu:/system", "qemu", "qemu:/system", false),
    ])
  func accepted(name: String, scheme: String, text: String, session: Bool) throws {
    let uri = try ConnectURI.parse(name).get()
    #expect(uri.scheme == scheme)
    #expect(uri.text == text)
    #expect(uri.isSession == session)
  }

  @Test(
    "the broker's host resolves nothing in a URI",
    arguments: [
      "qemu+ssh://host/system", "qemu+ssh:///system", "qemu+tls://host/system",
      "qemu+tcp://host/system",
      "qemu+ext:///system?command=/bin/sh", "qemu+libssh2://host/system", "qemu://host/system",
      "qemu://user@host:1/system", "qemu+unix://host/system",
      "qemu:///system?socket=/tmp/x", "qemu:///system?SOCKET=/tmp/x",
      "qemu:///system?a=b&socket=/tmp/x", "qemu:///system?a=b;socket=/tmp/x",
      "qemu:///system?%73ocket=/tmp/x", "qemu:///system?s%6Fcket=/tmp/x",
      "qemu:///system?command=x",
      "qemu:///system?netcat=x", "qemu:///system?keyfile=x", "qemu:///system?pkipath=/x",
      "qemu:///system?no_verify=1", "qemu:///system?mode=direct", "qemu:///system?proxy=native",
      "qemu:///system?known_hosts=/x", "qemu:///system?name=qemu:///session",
      "qemu:///system?authfile=/x", "qemu:///system?root=/x",
    ])
  func refused(name: String) {
    guard case .failure(let error) = ConnectURI.parse(name) else {
      Issue.record("\(name) was accepted")
      return
    }
    #expect(error.code == .configurationUnsupported, "\(error)")
    #expect(error.message?.hasPrefix("unsupported configuration: ") == true)
  }

  @Test(
    "a driver accepts the paths it knows, and no file",
    arguments: [
      (
        "qemu:///embed?a=b", "internal error: unexpected qemu URI path '/embed', try qemu:///system"
      ),
      ("qemu:///", "internal error: unexpected qemu URI path '/', try qemu:///system"),
      ("qemu:", "internal error: unexpected qemu URI path '', try qemu:///system"),
      (
        "qemu:///default", "internal error: unexpected qemu URI path '/default', try qemu:///system"
      ),
      (
        "qemu:////system", "internal error: unexpected qemu URI path '//system', try qemu:///system"
      ),
      (
        "qemu:///%73ystem",
        "internal error: unexpected qemu URI path '/%73ystem', try qemu:///system"
      ),
      (
        "secret:///embed",
        "internal error: unexpected secret URI path '/embed', try secret:///system"
      ),
      ("lxc:///session", "internal error: unexpected lxc URI path '/session', try lxc:///system"),
      (
        "vmwarews:///system",
        "internal error: unexpected vmwarews URI path '/system', try vmwarews:///session"
      ),
      (
        "test:///etc/shadow",
        "invalid argument: unexpected test URI path '/etc/shadow', try test:///default"
      ),
      ("test:/x", "invalid argument: unexpected test URI path '/x', try test:///default"),
      ("test:x", "invalid argument: unexpected test URI path 'x', try test:///default"),
      (
        "test:///default/../x",
        "invalid argument: unexpected test URI path '/default/../x', try test:///default"
      ),
      ("test:///", "invalid argument: testOpen: supply a path or use test:///default"),
      ("test:", "invalid argument: testOpen: supply a path or use test:///default"),
    ])
  func paths(name: String, message: String) {
    guard case .failure(let error) = ConnectURI.parse(name) else {
      Issue.record("\(name) was accepted")
      return
    }
    #expect(error.message == message)
  }

  @Test("an error message shows a bounded, printable part of the client's URI")
  func shown() {
    let long = String(repeating: "x", count: 3000)
    for name in [
      "qemu:///\(long)", long, "\(long):", "\u{202e}\u{9b}\n\u{0}é", "xyz:\(long)\(long)\(long)",
    ] {
      guard case .failure(let error) = ConnectURI.parse(name) else {
        Issue.record("\(name) was accepted")
        continue
      }
      let message = error.message ?? ""
      #expect(message.utf8.allSatisfy { (0x20...0x7e).contains($0) } && message.utf8.count < 400)
    }
  }

  @Test(
    "a scheme is one of libvirt's drivers and never part of a path",
    arguments: [
      "", "/system", "nonsense", "xyz:///system", "../../tmp/x:///system", "log:///system",
      "lock:///system", "proxy:///system", "remote:///system", "QEMU:///system", "qemu/:///system",
      "esx://host/", "esx:///", "gsx://host/", "vpx://host/dc/esx", "hyperv://host/",
      ":///system", "+unix:///system", "qemu\u{0}:///system", "qemu:///system?a=\u{600}&socket=/x",
      "qemu://\u{301}host/", "qemu:///system ", "qemu:///system?a=\"b", "qemu:///system?a%00b=c",
      "qemu:///system?a=%00", "qemu:///system?a%20b=c",
    ])
  func unknown(name: String) {
    guard case .failure = ConnectURI.parse(name) else {
      Issue.record("\(name) was accepted")
      return
    }
  }
}
