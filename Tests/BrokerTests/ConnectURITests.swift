// What a client may open, and what it may not make the broker resolve.
import Testing

@testable import Broker
@testable import Streams

@Suite("Connection URIs")
struct ConnectURITests {
  @Test(
    "a local daemon's URI goes on as it came",
    arguments: [
      ("qemu:///system", "qemu", "qemu:///system", false),
      ("qemu:///session", "qemu", "qemu:///session", true),
      ("qemu+unix:///system", "qemu", "qemu:///system", false),
      ("test:///default", "test", "test:///default", false),
      ("qemu:///embed?root=/x", "qemu", "qemu:///embed?root=/x", false),
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
    "nothing in a URI is resolved on the broker's host",
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
      "qemu:///system?authfile=/x",
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
    "a scheme is one of libvirt's drivers and never part of a path",
    arguments: [
      "", "/system", "nonsense", "xyz:///system", "../../tmp/x:///system", "log:///system",
      "lock:///system", "proxy:///system", "remote:///system", "QEMU:///system", "qemu/:///system",
      ":///system", "+unix:///system", "qemu\u{0}:///system", "qemu:///system?a=\u{600}&socket=/x",
      "qemu://\u{301}host/",
    ])
  func unknown(name: String) {
    guard case .failure = ConnectURI.parse(name) else {
      Issue.record("\(name) was accepted")
      return
    }
  }
}
