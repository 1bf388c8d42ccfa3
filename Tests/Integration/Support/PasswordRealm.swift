// A password database for SASL, and the client settings for its users.
import Foundation
import Streams

/// A directory with SASL's configuration and passwords, for brokers with its environment.
struct PasswordRealm: Sendable {
  let directory: String
  /// The broker's environment: the library looks there for its configuration.
  var environment: [String: String] { ["SASL_CONF_PATH": directory] }

  /// The users are fred with the password "secret", and joe with "other".
  static func make(_ mechanisms: String = "SCRAM-SHA-256 DIGEST-MD5 PLAIN") async throws
    -> PasswordRealm
  {
    let realm = PasswordRealm(directory: try Scratch.directory("p"))
    try """
    mech_list: \(mechanisms)
    pwcheck_method: auxprop
    auxprop_plugin: sasldb
    sasldb_path: \(realm.directory)/passwords

    """.write(toFile: realm.directory + "/libvirt.conf", atomically: false, encoding: .utf8)
    for (user, password) in [("fred", "secret"), ("joe", "other")] {
      var command = Command(
        "saslpasswd2", "-a", "libvirt", "-f", realm.directory + "/passwords", "-c", "-p", user)
      command.input = password
      try await command.output()
    }
    return realm
  }

  /// The URI parameters with which virsh authenticates as that user, with the given mechanism if there is one.
  func options(_ user: String, _ password: String, mechanism: String? = nil) throws -> String {
    let path = try Scratch.directory("c") + "/auth.conf"
    try """
    [credentials-c]
    authname=\(user)
    password=\(password)
    [auth-libvirt-default]
    credentials=c
    [auth-libvirt-127.0.0.1]
    credentials=c
    [auth-libvirt-localhost]
    credentials=c

    """.write(toFile: path, atomically: false, encoding: .utf8)
    return "authfile=\(path)" + (mechanism.map { "&auth=sasl.\($0)" } ?? "")
  }
}

/// SASL authentication with a clear-text password, as on a local socket.
enum PlainLogin {
  static func start(_ user: String, _ password: String) -> SASLStartArguments {
    SASLStartArguments(
      mechanism: "PLAIN", data: SASLData(Array("\0\(user)\0\(password)".utf8)))
  }
}

extension RawClient {
  /// Calls AUTH_LIST, AUTH_SASL_INIT and AUTH_SASL_START. Returns the last reply, which may be an error.
  func logIn(_ user: String = "fred", _ password: String = "secret") throws -> RawPacket {
    let types = try call(Remote.authList).decoded(AuthListResult.self)?.types
    guard types == [AuthListResult.sasl] else { throw Trouble("offered \(types ?? [])") }
    let offer = try call(Remote.authSASLInit)
    guard offer.header.status == .ok else { return offer }
    return try call(Remote.authSASLStart, PlainLogin.start(user, password))
  }

  /// The same; it must succeed.
  func mustLogIn(_ user: String = "fred", _ password: String = "secret") throws {
    let reply = try logIn(user, password)
    guard reply.header.status == .ok, reply.decoded(SASLStepResult.self)?.isComplete == true else {
      throw Trouble("\(user) was not let in: \(reply)")
    }
  }
}
