// What a client could make a daemon do by the URI that the daemon opens for it, and how the broker prevents it.
import Foundation
import Streams
import Testing

@Suite("Attacks by the URI that a daemon opens", Lab.isPossible, .inTurn)
struct DaemonURIAttackTests {
  /// A program that creates a mark when it runs.
  private struct Trap {
    let program: String
    private let mark: String

    init() throws {
      let directory = try Scratch.directory("f")
      program = directory + "/trap"
      mark = directory + "/mark"
      try "#!/bin/sh\necho ran >> \(mark)\n".write(
        toFile: program, atomically: false, encoding: .utf8)
      chmod(program, 0o755)
    }

    var hasRun: Bool { FileManager.default.fileExists(atPath: mark) }
    func reset() throws { try FileManager.default.removeItem(atPath: mark) }
  }

  /// Opens each URI and returns the indices of those that could be opened.
  private func tryAll(
    _ uris: [String], _ connect: () throws -> RawClient
  ) throws -> [Int] {
    var opened: [Int] = []
    var client: RawClient?
    for (number, uri) in uris.enumerated() {
      let current = try client ?? connect()
      // The broker waits for a host longer than a raw client waits by default.
      current.patience = 60
      if client == nil { _ = try current.call(Remote.authList) }
      client = current
      let reply = try current.call(
        Remote.connectOpen, ConnectOpenArguments(name: uri, flags: 1))
      guard reply.error == nil else { continue }
      opened.append(number)
      client = nil
    }
    return opened
  }

  @Test("no daemon runs a program for a client, neither behind the broker nor behind another host")
  func programs() async throws {
    let port = try BrokerProcess.freePort()
    let lab = try await Lab.shared(
      .mono, for: "uris", environment: ["LAB_TCP_PORT": "\(port)"])
    let trap = try Trap()
    // The daemon itself opens these URIs, unless it is new enough to refuse every transport.
    let direct = try lab.client()
    _ = try direct.call(Remote.authList)
    let control = try direct.call(
      Remote.connectOpen,
      ConnectOpenArguments(name: "qemu+ext://x/system?command=\(trap.program)", flags: 1))
    if control.error?.code != .operationDenied {
      #expect(trap.hasRun, "the attack works on this daemon: \(control)")
      try trap.reset()
    }
    let pid = try await Command(Lab.script, "pid", lab.directory).output()
    let inside = [
      "nsenter",
      "--net=/proc/\(pid.trimmingCharacters(in: .whitespacesAndNewlines))/ns/net",
    ]
    // The most permissive policy.
    let broker = try await BrokerProcess.start(
      backends: lab.sockets,
      settings: [
        "upstream_allowed_hosts = [ \"tcp://127.0.0.1:*\", \"*:*\" ]", "listen_tcp = 0",
      ], within: inside)
    let forms = HostileURIs.all(program: trap.program)
    #expect(forms.count > 500)
    let host = "127.0.0.1:\(port)"
    func through(_ name: String) -> String {
      "qemu+tcp://\(host)/system?name=\(name.percentEncoded)"
    }
    #expect(try tryAll([through("qemu:///system")]) { try broker.client() }.count == 1)
    func tryForms(_ forms: [String], _ uri: (String) -> String) throws -> [String] {
      try tryAll(forms.map(uri)) { try broker.client(readOnly: true) }.map { forms[$0] }
    }
    let opened = try tryForms(forms) { $0 } + tryForms(forms, through)
    for form in opened {
      #expect(
        form.hasPrefix("qemu:///system") || form.hasPrefix("qemu:/system")
          || form.hasPrefix("qemu+unix:///system"), "\(form)")
    }
    // A libvirtd that opens itself over TCP never answers, so behind two hosts only harmful URIs are tried.
    let harmful = forms.filter { !opened.contains($0) && !$0.contains("ssh") }
    #expect(try tryForms(harmful) { through(through($0)) }.isEmpty)
    #expect(!trap.hasRun)
    #expect(!broker.log.contains("\u{7}"))
    try await broker.stop()
  }

  @Test("another host opens a further host only if the policy of this host allows it")
  func furtherHosts() async throws {
    let far = try await Scene { _, _ in false }
    let near = try await Bastion.start(
      allowed: ["tcp://127.0.0.1:\(far.broker.port)", "ssh://site"],
      rules: ["ssh://site user=virt"])
    let client = try near.client()
    _ = try client.call(Remote.authList)
    for (name, words) in [
      ("qemu+tcp://elsewhere/system", "opening 'tcp://elsewhere:16509' is not allowed here"),
      ("qemu://elsewhere/system", "opening 'tls://elsewhere:16514' is not allowed here"),
      ("qemu+ssh://elsewhere/system", "opening 'ssh://elsewhere:22' is not allowed here"),
      ("qemu+tcp://127.0.0.1:1/system", "opening 'tcp://127.0.0.1:1' is not allowed here"),
      ("qemu+ssh://root@site/system", "user 'root' is not the one"),
      ("qemu+ext://site/system", "transport 'ext' behind another host"),
      ("qemu+unix://site/system", "transport 'unix' behind another host"),
      ("qemu+ssh://site/system?command=/x", "parameter 'command'"),
      ("qemu+ssh://site/etc/passwd", "unexpected qemu URI path '/etc/passwd'"),
      ("test+ssh://site/etc/passwd", "unexpected test URI path '/etc/passwd'"),
      ("esx://site/", "no connection driver available for esx://site/"),
    ] {
      for depth in 1...3 {
        let uri = (0..<depth).reduce(name) { inner, _ in
          far.broker.tcpURI() + "?name=" + inner.percentEncoded
        }
        let reply = try client.call(
          Remote.connectOpen, ConnectOpenArguments(name: uri, flags: 0))
        #expect(reply.error?.message?.contains(words) == true, "\(uri): \(reply)")
      }
    }
    #expect(far.backend.lines.isEmpty)
    try await near.stop()
    try await far.end()
  }

  @Test("no daemon reads a file for a client")
  func files() async throws {
    let lab = try await Lab.shared(.mono)
    let file = try Scratch.directory("f") + "/file"
    try "first line of a secret\n".write(toFile: file, atomically: false, encoding: .utf8)
    chmod(file, 0o600)
    let control = try await virsh(
      "test+unix://\(file)?socket=\(lab.socket("test", readOnly: true))", ["-r", "list"])
    #expect(control.errors.contains("first line"), "the attack works on this daemon: \(control)")
    let broker = try await BrokerProcess.start(in: lab)
    let near = try await Bastion.start(allowed: ["127.0.0.1:*"])
    for path in [
      file, "/\(file)", "/.\(file)", "/default/..\(file)", file.replacing("/", with: "//"),
      file.replacing("/f", with: "/%66"), "/default\(file)", "/DEFAULT", "/default/",
    ] {
      let uri = broker.unixURI("test", path: path, readOnly: true)
      for uri in [uri, near.uri(through: broker.tcpURI("test", path: path), readOnly: true)] {
        let result = try await virsh(uri, ["-r", "list"])
        #expect(result.status == 1, "\(path)")
        #expect(!result.errors.contains("first line"), "\(result.errors)")
        #expect(result.errors.contains("invalid argument: unexpected test URI path"), "\(result)")
      }
    }
    try await virshOutput(broker.unixURI("test", path: "/default", readOnly: true), "-r", "list")
    let none = try await virsh(broker.unixURI("test", path: "/"), ["list"])
    #expect(none.errors.contains("testOpen: supply a path or use test:///default"), "\(none)")
    // libvirt's client would not send this path on its own.
    let embedded = try await virsh(broker.uri(through: "qemu:///embed?a=b"), ["list"])
    #expect(embedded.errors.contains("unexpected qemu URI path '/embed'"), "\(embedded)")
    try await near.stop()
    try await broker.stop()
  }
}
