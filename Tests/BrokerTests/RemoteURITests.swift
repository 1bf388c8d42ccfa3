// URIs of other hosts: how they are parsed, which hosts they may lead to, and the command lines made from them.
import Testing

@testable import Broker
@testable import Streams

@Suite("URIs of other hosts")
struct RemoteURITests {
  private func parsed(_ text: String) throws -> RemoteURI {
    try #require(try RemoteURI.parse(text).get(), "\(text) names no other host")
  }

  /// A URI that leads to `name` through the given number of other hosts.
  private func behind(_ hosts: Int, _ name: String) -> String {
    (0..<hosts).reduce(name) { inner, number in
      "qemu+tcp://h\(number)/system?name=" + URIParameters.encoded(inner)
    }
  }

  @Test(
    "the URI for the other host is the one that libvirt's client would send",
    arguments: [
      ("qemu+tls://hostb/system", "tls", "hostb", nil, "qemu:///system"),
      ("qemu://HostB/system", "tls", "hostb", nil, "qemu:///system"),
      ("qemu+tcp://hostb:1234/system?a=b#f", "tcp", "hostb", 1234, "qemu:///system?a=b"),
      ("qemu+ssh://root@[fe80::1]:22/session", "ssh", "fe80::1", 22, "qemu:///session"),
      ("qemu+libssh://hostb/system", "ssh", "hostb", nil, "qemu:///system"),
      ("remote+tcp://hostb/", "tcp", "hostb", nil, ""),
      ("qemu+tcp://hostb/?name=xen%3a%2f%2f%2fsystem", "tcp", "hostb", nil, "xen:///system"),
      ("qemu+tcp://hostb/?name=", "tcp", "hostb", nil, ""),
      ("remote+tcp://hostb/?name=lxc%3a%2f%2f%2f", "tcp", "hostb", nil, "lxc:///"),
      ("qemu+ext://hostb/system?c=d;e=f&=x", "ext", "hostb", nil, "qemu:///system?c=d&e=f"),
      ("test+ssh://hostb/default", "ssh", "hostb", nil, "test:///default"),
      ("xen+ssh://hostb", "ssh", "hostb", nil, "xen:///system"),
      (
        "qemu+tcp://b/?name=qemu%2blibssh2%3a%2f%2fo%2540o%40C%3a22%2fsystem%3fa%3db%23f", "tcp",
        "b", nil, "qemu+ssh://o%40o@c:22/system?a=b"
      ),
      (
        "qemu+tcp://b/?name=qemu%3a%2f%2f%5B%3a%3a1%5D%2fx%3fname%3dtest%253a%252f%252f%252fdefault",
        "tcp", "b", nil, "qemu+tls://[::1]/?name=test%3a%2f%2f%2fdefault"
      ),
    ] as [(String, String, String, UInt16?, String)])
  func name(text: String, transport: String, host: String, port: UInt16?, name: String) throws {
    let uri = try parsed(text)
    #expect(uri.transport.rawValue == transport)
    #expect(uri.host == host)
    #expect(uri.port == port)
    #expect(uri.name(through: []) == name)
  }

  @Test(
    "a URI for another host is checked like a local one, at any depth",
    arguments: [
      "qemu+ext://x/system?command=/c", "qemu+ext://x/system", "qemu+ext:///system",
      "remote+ext://x/", "qemu+unix://x/system", "qemu+foo://x/system", "QEMU+EXT://x/system",
      "qemu+ssh://x/system?command=/c", "qemu+ssh://x/system?%63ommand=/c",
      "qemu+ssh://x/system?a=b;COMMAND=/c&d=e", "qemu+ssh://x/system?command%00y=/c",
      "qemu+ssh://x/system?netcat=/c", "qemu+ssh://x/system?a=b%00",
      "qemu+tls://x/system?pkipath=/c",
      "qemu+ssh://-oProxyCommand=c/system", "qemu+ssh://-oProxyCommand=c@x/system",
      "qemu+ssh://$(c)@x/system", "qemu+ssh://x:0/system", "qemu+tcp:///system", "qemu+tcp://x/y",
      "qemu+tcp://x//system", "qemu+tcp://x/system/", "qemu+tcp://x/../system",
      "qemu+tcp://x/embed?root=/c", "test+tcp://x/etc/passwd", "test:///etc/passwd",
      "test:/etc/passwd",
      "qemu:///embed?root=/c", "qemu:///system?socket=/c", "qemu:///system?root=/c",
      "esx://x/", "vpx://x/y", "hyperv://x/", "proxy:///system", "../../c:///system",
      "-oProxyCommand=c",
      "alias", "qemu:///system\n", "qemu:///system\u{0}", "qemu:///system?\u{301}command=/c",
      "qemu://x/system?virtbroker_via=1", "\u{feff}qemu:///system", "qemu:///system`c`",
      "qemu:///system\"c", "qemu:///system|c", "qemu:///system\\c", "qemu:///sys%74em",
    ])
  func nested(name: String) throws {
    for depth in 1...4 {
      guard case .failure(let error) = RemoteURI.parse(behind(depth, name)) else {
        Issue.record("\(name) was accepted behind \(depth) hosts")
        continue
      }
      #expect((error.message ?? "").utf8.allSatisfy { (0x20...0x7e).contains($0) })
      #expect((error.message ?? "").utf8.count < 600)
    }
  }

  @Test("the number of hosts in a row is limited")
  func rows() throws {
    let row = behind(RemoteURI.mostHosts, "qemu:///system")
    let uri = try parsed(row)
    #expect(try parsed(uri.name(through: [0x4000_0001])).marks == [0x4000_0001])
    guard case .failure = RemoteURI.parse(behind(RemoteURI.mostHosts + 1, "qemu:///system")) else {
      Issue.record("a row of \(RemoteURI.mostHosts + 1) hosts was accepted")
      return
    }
  }

  @Test("the next broker parses a forwarded URI to the same meaning")
  func rewritten() throws {
    for name in [
      "qemu+ssh://u@[fe80::1]:22/session", "remote+tcp://x/", "remote://x", "xen+tls://x",
      "qemu://x/system?a=%26b;c=d#f", "qemu+tcp://x/?name=", "qemu+tcp://x/odd?name=lxc:///",
      "qemu+tcp://x?name=" + URIParameters.encoded("qemu+tls://y/session?name=test:///default"),
      "remote+ssh://x/session", "remote+ssh://x/session?name=",
    ] {
      let sent = try parsed(behind(1, name)).name(through: [0x4000_0001])
      let received = try parsed(sent)
      #expect(received.marks == [0x4000_0001], "\(sent)")
      #expect(received.name(through: []) == (try parsed(name)).name(through: []), "\(sent)")
      #expect(received.isSession == (try parsed(name)).isSession, "\(sent)")
    }
  }

  @Test("a path selects the session daemon unless a name says what to open")
  func session() throws {
    let named = "qemu+ssh://x/session?name="
    for uri in ["qemu+ssh://x/session", "remote+ssh://x/session", named + "qemu:///session"] {
      #expect(try parsed(uri).isSession, "\(uri)")
    }
    for uri in ["remote+ssh://x/", named, named + "qemu:///system", named + "qemu+tls://y/session"]
    {
      #expect(try !parsed(uri).isSession, "\(uri)")
    }
  }

  @Test(
    "a local daemon's URI names no other host",
    arguments: ["qemu:///system", "qemu+unix:///session", "", "xen", "test:///default", "qemu:/x"])
  func local(text: String) throws {
    #expect(try RemoteURI.parse(text).get() == nil)
  }

  @Test(
    "a destination must match the list, including its port, which defaults to the transport's own",
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
    "an invalid destination or rule is refused with the reason",
    arguments: [
      ("", .ruleEmpty, ""), ("ho st", .ruleWithoutValue, "'st'"),
      ("-x", .patternInvalidHost, "'-x'"),
      ("http://hostb", .unknownTransport, "'http'"), ("hostb:x", .patternInvalidPort, "'x'"),
      ("hostb user=-l", .ruleInvalidUser, "user: "),
      ("hostb keyfile=id", .ruleInvalidPath, "keyfile: "),
      ("hostb keyfile=/a'b", .ruleInvalidPath, "keyfile: "),
      ("hostb netcat=-x", .ruleInvalidProgram, "netcat: "),
      ("hostb netcat=nc;x", .ruleInvalidProgram, "netcat: "),
      ("hostb no_verify=yes", .ruleInvalidWord, "no_verify: expected 0 or 1"),
      ("hostb keyflie=/x", .ruleUnknownParameter, "'keyflie'"),
      ("hostb user=a user=b", .ruleRepeatedParameter, "'user'"),
      ("hostb tls_priority=NONSENSE", .priorityInvalid, "tls_priority 'NONSENSE': "),
    ] as [(String, MessageDefinition, String)])
  func mistakes(text: String, definition: MessageDefinition, words: String) {
    #expect {
      try UpstreamRule(text)
    } throws: { error in
      guard let message = (error as? BrokerFailure)?.message else { return false }
      return message.has(definition) && (words.isEmpty || message.text.contains(words))
    }
  }

  // The command lines of libvirt's own client, as recorded.
  @Test("ssh gets the command line of libvirt's client")
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

  @Test("a URI carries the marks of the brokers on its way, and only another broker sees them")
  func marks() throws {
    let uri = try parsed("qemu+tcp://b/?name=qemu%2btcp%3a%2f%2fc%2fsystem")
    let marked = uri.name(through: [0x4000_0001, 0x7fff_ffff])
    #expect(marked == "qemu+tcp://c/system?virtbroker_via=40000001,7fffffff")
    let next = try parsed(marked)
    #expect(next.marks == [0x4000_0001, 0x7fff_ffff])
    #expect(next.name(through: next.marks) == "qemu:///system")
  }
}
