// URIs of other hosts: what they mean, where they may lead, and the command lines that come of them.
import Testing

@testable import Broker
@testable import Streams

@Suite("URIs of other hosts")
struct RemoteURITests {
  private func parsed(_ text: String) throws -> RemoteURI {
    try #require(try RemoteURI.parse(text).get(), "\(text) names no other host")
  }

  @Test(
    "what is opened there is what libvirt's client would open",
    arguments: [
      ("qemu+tls://hostb/system", "tls", "hostb", nil, "qemu:///system"),
      ("qemu://HostB/system", "tls", "hostb", nil, "qemu:///system"),
      ("qemu+tcp://hostb:1234/system?a=b#f", "tcp", "hostb", 1234, "qemu:///system?a=b"),
      ("qemu+ssh://root@[fe80::1]:22/session", "ssh", "fe80::1", 22, "qemu:///session"),
      ("qemu+libssh://hostb/system", "ssh", "hostb", nil, "qemu:///system"),
      ("remote+tcp://hostb/", "tcp", "hostb", nil, ""),
      ("qemu+tcp://hostb/?name=xen%3a%2f%2f%2fsystem", "tcp", "hostb", nil, "xen:///system"),
      ("qemu+ext://hostb/system;x?c=d;e=f", "ext", "hostb", nil, "qemu:///system;x?c=d&e=f"),
    ] as [(String, String, String, UInt16?, String)])
  func name(text: String, transport: String, host: String, port: UInt16?, name: String) throws {
    let uri = try parsed(text)
    #expect(uri.transport.rawValue == transport)
    #expect(uri.host == host)
    #expect(uri.port == port)
    #expect(uri.name == name)
  }

  @Test(
    "a local daemon's URI names no other host",
    arguments: ["qemu:///system", "qemu+unix:///session", "", "xen", "test:///default", "qemu:/x"])
  func local(text: String) throws {
    #expect(try RemoteURI.parse(text).get() == nil)
  }

  @Test(
    "a destination is allowed as it is listed, on its usual port unless another is",
    arguments: [
      ("hostb", "qemu+tls://hostb/system", true), ("hostb", "qemu+tls://HOSTB:16514/system", true),
      ("hostb", "qemu+tls://hostb:1/system", false), ("hostb:1", "qemu+tls://hostb:1/system", true),
      ("hostb:1", "qemu+tls://hostb/system", false), ("hostb:*", "qemu+tls://hostb:7/system", true),
      ("tls://hostb", "qemu+tcp://hostb/system", false),
      ("ssh://hostb", "qemu+libssh2://hostb/system", true),
      ("*.example.com", "qemu://a.example.com/system", true),
      ("*.example.com", "qemu://example.com/system", false),
      ("*.example.com", "qemu://a.example.com.evil/system", false),
      ("host?", "qemu://hostb/system", true), ("[::1]:5", "qemu+tcp://[::1]:5/system", true),
      ("*", "qemu+ssh://anything/system", true), ("*", "qemu+ssh://anything:23/system", false),
    ])
  func allowed(pattern: String, text: String, isAllowed: Bool) throws {
    #expect(try UpstreamPattern(pattern).allows(try parsed(text)) == isAllowed)
  }

  @Test(
    "what cannot be a destination or a rule is refused with what is wrong",
    arguments: [
      ("", "it is empty"), ("ho st", "expected PARAMETER=VALUE"), ("-x", "'-x' is no host"),
      ("http://hostb", "'http' is no transport"), ("hostb:x", "neither a port number"),
      ("hostb user=-l", "user: expected the name of a user"),
      ("hostb keyfile=id", "keyfile: expected an absolute path"),
      ("hostb keyfile=/a'b", "keyfile: expected an absolute path"),
      ("hostb netcat=-x", "netcat: expected the name or path"),
      ("hostb netcat=nc;x", "netcat: expected the name or path"),
      ("hostb no_verify=yes", "no_verify: expected 0 or 1"),
      ("hostb keyflie=/x", "there is no parameter 'keyflie'"),
      ("hostb user=a user=b", "'user' is there twice"),
      ("hostb tls_priority=NONSENSE", "tls_priority: expected a GnuTLS priority string"),
    ])
  func mistakes(text: String, words: String) {
    #expect {
      try UpstreamRule(text)
    } throws: { "\($0)".contains(words) }
  }

  // The lines libvirt's own client runs, as they were seen.
  @Test("ssh is told what libvirt's client tells it")
  func ssh() {
    var command = SSHCommand(
      host: "hostb", socket: "/var/run/libvirt/libvirt-sock", uri: "qemu:///system",
      isReadOnly: false)
    let netcat =
      "if 'nc' -q 2>&1 | grep \"requires an argument\" >/dev/null 2>&1; then ARG=-q0;else ARG=;fi;"
      + "'nc' $ARG -U /var/run/libvirt/libvirt-sock"
    let options = ["-T", "-e", "none", "-o", "BatchMode=yes"]
    #expect(
      command.arguments == ["ssh"] + options + [
        "--", "hostb",
        "sh -c 'which virt-ssh-helper 1>/dev/null 2>&1; if test $? = 0; then     virt-ssh-helper "
          + "'qemu:///system'; else    \(netcat); fi'",
      ])
    command.proxy = .netcat
    command.port = 2222
    command.user = "root"
    command.keyFile = "/key"
    command.hostKeys = "no"
    #expect(
      command.arguments == ["ssh", "-p", "2222", "-l", "root", "-i", "/key"] + options + [
        "-o", "StrictHostKeyChecking=no", "--", "hostb", "sh -c '\(netcat)'",
      ])
    command.proxy = .native
    command.isReadOnly = true
    #expect(command.arguments.last == "sh -c 'virt-ssh-helper -r 'qemu:///system''")
  }

  @Test("brokers on the way are known by their marks, and only another broker is told of them")
  func marks() throws {
    let uri = try parsed("qemu+tcp://b/?name=qemu%2btcp%3a%2f%2fc%2fsystem")
    let marked = uri.name(through: [0x4000_0001, 0x7fff_ffff])
    #expect(marked == "qemu+tcp://c/system?virtbroker_via=40000001,7fffffff")
    let next = try parsed(marked)
    #expect(next.marks == [0x4000_0001, 0x7fff_ffff])
    #expect(next.name(through: next.marks) == "qemu:///system")
  }
}
