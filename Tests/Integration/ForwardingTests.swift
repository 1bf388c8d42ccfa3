// Real clients open other hosts through the broker.
import Certificates
import Foundation
import Streams
import Testing

@Suite("Opening other hosts", Lab.isPossible, .inTurn)
struct ForwardingTests {
  @Test("over TCP: calls, and a volume up and down, with the broker here and there")
  func tcp() async throws {
    let lab = try await Lab.shared(.modular)
    let far = try await BrokerProcess.start(in: lab)
    let near = try await Bastion.start(allowed: ["tcp://127.0.0.1:\(far.port)"])
    let uri = near.uri(through: far.tcpURI())
    let pool = try await lab.pool("forwarded")
    let client = try near.client()
    try client.open(far.tcpURI())
    let opened = try client.call(Remote.connectGetURI).decoded(GetURIResult.self)
    #expect(opened?.uri == "qemu:///system")
    let file = try Scratch.directory("f") + "/file"
    try await Command("sh", "-c", "head -c 20000001 /dev/urandom > \(file)").output()
    try await virshOutput(uri, "vol-create-as", "forwarded", "v", "20000001b")
    try await virshOutput(uri, "vol-upload", "v", file, "--pool", "forwarded")
    try await virshOutput(uri, "vol-download", "v", file + ".back", "--pool", "forwarded")
    for copy in [pool + "/v", file + ".back"] { try await Command("cmp", file, copy).output() }
    try await virshOutput(uri, "vol-delete", "v", "--pool", "forwarded")
    let refused = try await virsh(
      near.uri(through: far.tcpURI(), readOnly: true), ["pool-destroy", "forwarded"])
    #expect(refused.errors.contains("operation forbidden: read only access"), "\(refused)")
    try await near.stop()
    try await far.stop()
  }

  @Test("over TLS: the broker presents its certificate and verifies the other host's")
  func tls() async throws {
    let lab = try await Lab.shared(.mono)
    let far = try await TLSBroker(
      backends: lab.sockets, settings: ["tls_allowed_dn_list = [ \"O=Acme,CN=client1\" ]"])
    let near = try await Bastion.start(
      allowed: ["tls://*:\(far.port)"], rules: ["* pkipath=\(far.certificates.directory)"])
    let uri = "qemu+tls://localhost:\(far.port)/system"
    try await virshOutput(near.uri(through: uri), "list")
    #expect(far.logged(", TLS, O=Acme,CN=client1) connected"))
    // A URI without a transport means TLS.
    try await virshOutput(near.uri(through: "qemu://localhost:\(far.port)/system"), "list")

    let named = try await virsh(
      near.uri(through: "qemu+tls://127.0.0.1:\(far.port)/system"), ["list"])
    #expect(named.status == 1)
    #expect(named.errors.contains("not valid for host '127.0.0.1'"), "\(named.errors)")

    try far.certificates.show(.client("CN=somebody"))
    let refused = try await virsh(near.uri(through: uri), ["list"])
    #expect(refused.status == 1)
    #expect(
      refused.errors.contains("has not accepted the broker's certificate"), "\(refused.errors)")
    try await near.stop()

    let others = try CertificateDirectory()
    let careful = try await Bastion.start(
      allowed: ["localhost:\(far.port)"], rules: ["* pkipath=\(others.directory)"])
    let unknown = try await virsh(careful.uri(through: uri), ["list"])
    #expect(unknown.status == 1)
    #expect(unknown.errors.contains("is not trusted"), "\(unknown.errors)")
    #expect(unknown.errors.contains("verification failed"), "\(unknown.errors)")
    try await careful.stop()
    try await far.broker.stop()
  }

  @Test(
    "an unverifiable TLS server is used only where the configuration allows it, and the log says so"
  )
  func noVerify() async throws {
    let lab = try await Lab.shared(.mono)
    let far = try await TLSBroker(
      backends: lab.sockets, settings: ["tls_no_verify_certificate = 1"])
    let others = try CertificateDirectory()
    let near = try await Bastion.start(
      allowed: ["localhost:*"], rules: ["localhost pkipath=\(others.directory) no_verify=1"])
    try await virshOutput(
      near.uri(through: "qemu+tls://localhost:\(far.port)/system"), "list")
    #expect(near.logs("VB-HOST-031 VB-CERT-034 "))
    try await near.stop()
    try await far.broker.stop()
  }

  @Test("over a socket and over a program of this host that the configuration names")
  func local() async throws {
    let lab = try await Lab.shared(.mono)
    let directory = try Scratch.directory("f")
    let program = directory + "/dial"
    try "#!/bin/sh\nexec nc -U \(lab.socket("qemu"))\n".write(
      toFile: program, atomically: false, encoding: .utf8)
    chmod(program, 0o700)
    let near = try await Bastion.start(
      allowed: ["site"],
      rules: ["unix://site socket=\(lab.socket("qemu"))", "ext://site command=\(program)"])
    for transport in ["unix", "ext"] {
      let uri = near.uri(through: "qemu+\(transport)://site/system")
      try await virshOutput(uri, "list", "--all")
    }
    try await near.stop()
  }

  @Test("the output of a failed program is in the log and not in the client's error")
  func failingProgram() async throws {
    let directory = try Scratch.directory("f")
    let program = directory + "/dial"
    try "#!/bin/sh\nprintf 'no way\\033[31m to get there\\n' >&2\nexit 3\n".write(
      toFile: program, atomically: false, encoding: .utf8)
    chmod(program, 0o700)
    let near = try await Bastion.start(
      allowed: ["site"], rules: ["ext://site command=\(program)"])
    let result = try await virsh(near.uri(through: "qemu+ext://site/system"), ["list"])
    #expect(result.status == 1)
    #expect(result.errors.contains("ext://site"), "\(result.errors)")
    #expect(!result.errors.contains("no way"))
    #expect(near.logs("VB-HOST-036: ext://site: "))
    #expect(near.logs(": no way\\u{1b}[31m to get there"))
    #expect(near.logs("VB-HOST-039: ext://site ") && near.logs("exited with status 3"))
    try await near.stop()
  }

  @Test("over ssh: netcat and virt-ssh-helper, with the commands of libvirt's client")
  func ssh() async throws {
    let lab = try await Lab.shared(.mono)
    let pid = try await lab.pid(of: "libvirtd")
    let server = try await SSHServer.start(inside: ["nsenter", "-t", "\(pid)", "--mount"])
    let allowed = ["ssh://127.0.0.1:\(server.port)"]
    let uri = "qemu+ssh://root@127.0.0.1:\(server.port)/system"
    for more in ["", " proxy=native", " proxy=netcat", " netcat=/usr/bin/nc"] {
      let near = try await Bastion.start(allowed: allowed, rules: [server.rule + more])
      try await virshOutput(near.uri(through: uri), "list", "--all")
      #expect(near.logs(" at ssh://127.0.0.1:\(server.port) opened 'qemu:///system'"), "\(more)")
      try await near.stop()
    }
    // The same program serves libssh and libssh2.
    let plain = try await Bastion.start(allowed: allowed, rules: [server.rule])
    try await virshOutput(
      plain.uri(through: uri.replacing("+ssh:", with: "+libssh2:"), readOnly: true), "list")
    let other = try await virsh(
      plain.uri(through: uri.replacing("root@", with: "joe@")), ["list"])
    #expect(other.errors.contains("user 'joe' is not the one"), "\(other.errors)")
    try await plain.stop()
    // A host whose key is not known.
    let near = try await Bastion.start(
      allowed: allowed, rules: ["* user=root keyfile=\(server.key) known_hosts_verify=normal"])
    let result = try await virsh(near.uri(through: uri), ["list"])
    #expect(result.status == 1)
    #expect(near.logs("Host key verification failed"))
    try await near.stop()
  }

  @Test("a hanging program is killed after its time limit, and no process is left")
  func hangingProgram() async throws {
    let program = try Scratch.directory("f") + "/dial"
    try "#!/bin/sh\necho $$ > \(program).pid\nexec sleep 1000\n".write(
      toFile: program, atomically: false, encoding: .utf8)
    chmod(program, 0o700)
    let near = try await Bastion.start(
      allowed: ["site"], rules: ["site command=\(program)"], settings: ["open_timeout = 1"])
    let result = try await virsh(near.uri(through: "qemu+ext://site/system"), ["list"])
    #expect(result.errors.contains("ext://site did not answer within 1 s"), "\(result.errors)")
    let text = try String(contentsOfFile: program + ".pid", encoding: .utf8)
    let pid = try #require(pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)))
    #expect(eventually { kill(pid, 0) != 0 }, "the program has ended and is buried")
    try await near.stop()
  }

  @Test("calls fail with an error about the other host when it disconnects")
  func death() async throws {
    let lab = try await Lab.shared(.mono)
    let far = try await BrokerProcess.start(in: lab)
    let near = try await Bastion.start(
      allowed: ["127.0.0.1:*"], settings: ["upstream_reconnect_seconds = 1"])
    let client = try near.client()
    try client.open(far.tcpURI())
    try await far.stop()
    #expect(try client.awaitEnd(within: 5).isEmpty, "the client's connection ends with it")
    let place = "tcp://127.0.0.1:\(far.port)"
    #expect(eventually { near.log.contains("\(place) is lost") }, "\(near.log)")
    try await near.stop()
  }

  @Test(
    "hosts that require a user and password get those of the authfile, encrypted where required"
  )
  func sasl() async throws {
    let lab = try await Lab.shared(.mono)
    let realm = try await PasswordRealm.make()
    let far = try await TLSBroker(
      backends: lab.sockets, settings: ["auth_tls = \"sasl\"", "auth_tcp = \"sasl\""],
      environment: realm.environment)
    let files = try [("right", "secret"), ("wrong", "mistaken")].map { name, password in
      let path = try Scratch.directory("a") + "/\(name)"
      try """
      # libvirt's format
      [credentials-\(name)]
      authname = fred
      password = \(password)

      [auth-libvirt-default]
      credentials = \(name)

      """.write(toFile: path, atomically: false, encoding: .utf8)
      return path
    }
    let tls = "qemu+tls://localhost:\(far.port)/system"
    let tcp = "qemu+tcp://127.0.0.1:\(far.broker.port)/system"
    for (file, isRight) in zip(files, [true, false]) {
      let near = try await Bastion.start(
        allowed: ["*:*"], rules: ["* pkipath=\(far.certificates.directory) authfile=\(file)"])
      for uri in [tls, tcp] {
        let result = try await virsh(near.uri(through: uri), ["list", "--all"])
        #expect((result.status == 0) == isRight, "\(uri): \(result)")
        if !isRight {
          #expect(result.errors.contains("the broker could not authenticate"), "\(result.errors)")
        }
      }
      try await near.stop()
    }
    #expect(eventually { far.broker.logs("VB-AUTH-004", "'fred' by SCRAM-SHA-256,") })
    #expect(eventually { far.broker.logs("VB-AUTH-004", "'fred' by DIGEST-MD5,", " 128") })
    // Without an authfile there are no credentials.
    let near = try await Bastion.start(allowed: ["*:*"])
    let result = try await virsh(near.uri(through: tcp), ["list"])
    #expect(result.errors.contains("requires SASL authentication"), "\(result.errors)")
    try await near.stop()
    try await far.broker.stop()
  }
}
