// What a client could try with a URI that names another host, and how the broker responds.
import Foundation
import Streams
import Testing

@Suite("Attacks through other hosts", Lab.isPossible, .inTurn)
struct ForwardingAttackTests {
  /// URIs, each with a part of the expected error message.
  static let refused: [(uri: String, words: String)] = {
    let parameters = [
      "command", "netcat", "socket", "keyfile", "known_hosts", "known_hosts_verify", "no_verify",
      "no_sanity", "no_tty", "pkipath", "tls_priority", "authfile", "auth", "proxy", "mode",
      "sshauth",
    ]
    var list = parameters.flatMap { parameter in
      [
        ("qemu+ssh://site/system?\(parameter)=/CANARY", "parameter '\(parameter)'"),
        (
          "qemu+ext://site/system?a=b;\(parameter.uppercased())=/CANARY", "parameter '\(parameter)'"
        ),
        ("qemu+tls://site/system?%\(hex(parameter))=/CANARY", "parameter '\(parameter)'"),
      ]
    }
    list += [
      ("qemu+ext:///system?command=/CANARY", "parameter 'command'"),
      ("qemu+ext:///system", "no host"),
      ("qemu+ssh:///system", "no host"),
      ("qemu+unix:///system?socket=/CANARY", "parameter 'socket'"),
      ("qemu+ssh://-oProxyCommand=CANARY/system", "invalid host in URI"),
      ("qemu+ssh://-oProxyCommand=CANARY@site/system", "invalid user name in URI"),
      ("qemu+ssh://%2doProxyCommand=CANARY@site/system", "invalid user name in URI"),
      ("qemu+ssh://a%0ab@site/system", "invalid user name in URI"),
      ("qemu+ssh://a%20b@site/system", "invalid user name in URI"),
      ("qemu+ssh://$(CANARY)@site/system", "invalid user name in URI"),
      ("qemu+ssh://root:password@site/system", "invalid user name in URI"),
      ("qemu+ssh://si%0ate/system", "invalid host in URI"),
      ("qemu+ssh://$(CANARY)/system", "invalid host in URI"),
      ("qemu+ssh://site;CANARY/system", "invalid host in URI"),
      ("qemu+ssh://[site]/system", "invalid host in URI"),
      ("qemu+ssh://site:22x/system", "invalid port in URI"),
      ("qemu+ssh://site:-1/system", "invalid port in URI"),
      ("qemu+ssh://site:0/system", "invalid port in URI"),
      ("qemu+ssh://site:99999/system", "invalid port in URI"),
      ("qemu+ext://site:22/system", "which has none"),
      ("qemu+ssh://site:2222/system", "not allowed here (upstream_allowed_hosts)"),
      ("qemu+ssh://elsewhere/system", "not allowed here (upstream_allowed_hosts)"),
      ("qemu+tls://site.elsewhere/system", "not allowed here (upstream_allowed_hosts)"),
      ("qemu+tls://elsewhere@site.x/system", "not allowed here (upstream_allowed_hosts)"),
      ("qemu://elsewhere/system", "not allowed here (upstream_allowed_hosts)"),
      ("qemu+tls://joe@site/system", "no use for the user 'joe'"),
      ("qemu+unix://site/system", "needs the parameter 'socket'"),
      ("qemu+ext://bare/system", "needs the parameter 'command'"),
      ("qemu+ssh://site/system?name=qemu:///system%60CANARY%60", "parameter 'name'"),
      ("qemu+ssh://site/system?name=qemu:///system%3f%22", "parameter 'name'"),
      ("qemu+ssh://site/system?name=qemu:///system%0aCANARY", "parameter 'name'"),
      ("qemu+ssh://site/system?name=qemu:///a&name=qemu:///b", "second parameter 'name'"),
      ("qemu+ssh://site/system?virtbroker_via=0000000a", "parameter 'virtbroker_via'"),
      ("qemu+foo://site/system", "transport 'foo'"),
    ]
    return list
  }()

  /// The percent-encoded first letter of a parameter, to hide its name.
  private static func hex(_ parameter: String) -> String {
    String(parameter.utf8.first ?? 0, radix: 16) + parameter.dropFirst()
  }

  @Test("nothing in a client's URI is executed, read or opened on this host, for any client")
  func refusals() async throws {
    let directory = try Scratch.directory("f")
    let canary = directory + "/canary"
    for name in ["run", "ssh"] {
      let path = directory + "/" + name
      try "#!/bin/sh\necho \"$@\" >> \(canary)\n".write(
        toFile: path, atomically: false, encoding: .utf8)
      chmod(path, 0o700)
    }
    // Each program that might run instead creates a mark too.
    let near = try await Bastion.start(
      allowed: ["site", "bare"],
      rules: ["ext://site command=\(directory)/run", "ssh://* command=\(directory)/ssh"],
      settings: ["log_level = 1"])
    for readOnly in [false, true] {
      for (uri, words) in Self.refused {
        let uri = uri.replacing("/CANARY", with: directory + "/run")
        let client = try near.client(readOnly: readOnly)
        _ = try client.call(Remote.authList)
        let reply = try client.call(
          Remote.connectOpen, ConnectOpenArguments(name: uri, flags: readOnly ? 1 : 0))
        #expect(reply.error?.code == .configurationUnsupported, "\(uri): \(reply)")
        #expect(reply.error?.message?.contains(words) == true, "\(uri): \(reply)")
        // The connection is still usable for another URI.
        let again = try client.call(
          Remote.connectOpen, ConnectOpenArguments(name: "qemu:///system", flags: 0))
        #expect(again.error?.code == .systemError, "no daemon is there: \(again)")
      }
    }
    #expect(!FileManager.default.fileExists(atPath: canary))
    try await near.stop()
  }

  @Test("without upstream_allowed_hosts no other host is opened")
  func closed() async throws {
    let far = try await Scene { _, _ in false }
    let near = try await Bastion.start(allowed: [])
    for uri in [far.broker.tcpURI(), "qemu+ssh://localhost/system", "qemu+ext://x/system"] {
      let client = try near.client()
      _ = try client.call(Remote.authList)
      let reply = try client.call(
        Remote.connectOpen, ConnectOpenArguments(name: uri, flags: 0))
      #expect(reply.error?.message?.contains("upstream_allowed_hosts") == true, "\(reply)")
    }
    #expect(near.logs(" VB-HOST-001: client "))
    #expect(far.backend.lines.isEmpty)
    try await near.stop()
    try await far.end()
  }

  @Test("the other host's shell gets the client's name to open as one word, whatever it contains")
  func shell() async throws {
    let directory = try Scratch.directory("f")
    // An ssh that passes the command to a shell, as sshd does.
    try """
    #!/bin/sh
    for last; do :; done
    cd \(directory)
    PATH=\(directory):$PATH exec sh -c "$last"

    """.write(toFile: directory + "/ssh", atomically: false, encoding: .utf8)
    try "#!/bin/sh\nfor word; do echo \"$word\" >> \(directory)/words; done\n".write(
      toFile: directory + "/virt-ssh-helper", atomically: false, encoding: .utf8)
    for name in ["ssh", "virt-ssh-helper"] { chmod("\(directory)/\(name)", 0o700) }
    let near = try await Bastion.start(
      allowed: ["site"], rules: ["site command=\(directory)/ssh"])
    let names = [
      "qemu:///system?a='$(touch\(directory)/canary)'", "qemu:///system?a=!*$IFS~(b)'",
      "qemu:///session?a=''&b=?'$(touch\(directory)/canary)'//",
    ]
    for name in names {
      let client = try near.client()
      _ = try client.call(Remote.authList)
      let reply = try client.call(
        Remote.connectOpen,
        ConnectOpenArguments(
          name: "qemu+ssh://site/system?name=\(name.percentEncoded)", flags: 1))
      #expect(reply.error != nil, "nobody answers there")
    }
    let words = try String(contentsOfFile: directory + "/words", encoding: .utf8)
    #expect(words == names.map { "-r\n\($0)\n" }.joined())
    #expect(!FileManager.default.fileExists(atPath: directory + "/canary"))
    try await near.stop()
  }

  // MARK: Circles

  @Test(
    "a broker refuses to open itself under any of its addresses",
    arguments: [
      "127.0.0.1", "localhost", "127.0.0.2", "0.0.0.0", "[::ffff:127.0.0.1]",
    ])
  func itself(host: String) async throws {
    let near = try await Bastion.start(
      allowed: ["tcp://*:*"], settings: ["listen_addr = \"0.0.0.0\"", "tcp_port = \"0\""])
    // The kernel chooses the port; it is in the log.
    #expect(near.logs("listening on 0.0.0.0:"))
    let port = try #require(
      near.log.firstMatch(of: /listening on 0\.0\.0\.0:(\d+)/).map { String($0.1) })
    let result = try await virsh(
      near.uri(through: "qemu+tcp://\(host):\(port)/system"), ["list"])
    #expect(result.errors.contains("leads back to this broker"), "\(result.errors)")
    try await near.stop()
  }

  @Test("a broker refuses to open itself over its UNIX socket")
  func ownSocket() async throws {
    let scratch = try Scratch.directory("f")
    let near = try await Bastion.start(
      allowed: ["site"], rules: ["unix://site socket=\(scratch)/libvirt-sock"],
      settings: ["unix_sock_dir = \"\(scratch)\""])
    let uri =
      "qemu+unix:///system?socket=\(scratch)/libvirt-sock&name="
      + "qemu+unix://site/system".percentEncoded
    let result = try await virsh(uri, ["list"])
    #expect(result.errors.contains("leads back to this broker"), "\(result.errors)")
    try await near.stop()
  }

  @Test("a broker refuses to open itself through a proxy")
  func detour() async throws {
    let scene = try await Scene(
      settings: ["upstream_allowed_hosts = [ \"tcp://*:*\" ]"]
    ) { _, _ in false }
    let port = try BrokerProcess.freePort()
    let relay = try Child([
      "socat", "TCP-LISTEN:\(port),bind=127.0.0.1,fork,reuseaddr",
      "TCP:127.0.0.1:\(scene.broker.port)",
    ])
    #expect(eventually { BrokerProcess.accepts(tcp: port) })
    let result = try await virsh(
      scene.broker.uri(through: "qemu+tcp://127.0.0.1:\(port)/system"), ["list"])
    #expect(
      result.errors.contains("leads back to a broker the client came through"), "\(result.errors)")
    relay.end()
    try await scene.end()
  }

  @Test("a broker refuses to open itself through another broker, at any position in a chain")
  func circle() async throws {
    let lab = try await Lab.shared(.mono)
    let first = try await BrokerProcess.start(
      in: lab, settings: ["upstream_allowed_hosts = [ \"tcp://*:*\" ]"])
    let second = try await Bastion.start(allowed: ["tcp://*:*"])
    func hop(_ broker: BrokerProcess, _ name: String) -> String {
      "qemu+tcp://127.0.0.1:\(broker.port)/system?name=\(name.percentEncoded)"
    }
    let there = "qemu+tcp://127.0.0.1:\(first.port)/system"
    let short = try await virsh(first.uri(through: hop(second, there)), ["list"])
    #expect(short.errors.contains("leads back to a broker"), "\(short.errors)")
    let long = hop(second, hop(first, hop(second, there)))
    let result = try await virsh(first.uri(through: long), ["list"])
    #expect(result.errors.contains("has led back to the broker"), "\(result.errors)")
    // A chain of brokers without a loop works.
    let entrance = try await Bastion.start(allowed: ["tcp://*:*"])
    let reply = try await virsh(entrance.uri(through: hop(second, there)), ["list"])
    #expect(reply.status == 0, "\(reply)")
    for broker in [entrance, second, first] { try await broker.stop() }
  }
}
