// A Kerberos realm for tests of GSSAPI.
import Foundation
import Glibc

/// A key distribution centre on a port of 127.0.0.1, with the user fred and the service libvirt/localhost.
final class KerberosRealm: Sendable {
  let directory: String
  private let centre: Child

  /// The environment of every program that uses the realm.
  private var common: [String: String] {
    ["KRB5_CONFIG": directory + "/krb5.conf", "KRB5_KDC_PROFILE": directory + "/kdc.conf"]
  }
  /// The broker's environment.
  var environment: [String: String] {
    common.merging([
      "SASL_CONF_PATH": directory, "KRB5_KTNAME": directory + "/libvirt.keytab",
      "KRB5RCACHEDIR": directory,
    ]) { $1 }
  }
  /// The environment of a client with fred's ticket, after `login`.
  var clientEnvironment: [String: String] {
    common.merging(["KRB5CCNAME": "FILE:\(directory)/ticket"]) { $1 }
  }

  static func start() async throws -> KerberosRealm {
    let realm = try await KerberosRealm(directory: try Scratch.directory("k"))
    let key = "ktadd -k \(realm.directory)"
    for order in [
      "addprinc -randkey fred", "addprinc -randkey libvirt/localhost",
      "\(key)/fred.keytab fred", "\(key)/libvirt.keytab libvirt/localhost",
    ] {
      var command = Command("/usr/sbin/kadmin.local", "-q", order)
      command.environment = realm.common
      try await command.output()
    }
    return realm
  }

  private init(directory: String) async throws {
    self.directory = directory
    let port = try BrokerProcess.freePort()
    func write(_ name: String, _ text: String) throws {
      try text.write(toFile: "\(directory)/\(name)", atomically: false, encoding: .utf8)
    }
    try write(
      "krb5.conf",
      """
      [libdefaults]
        default_realm = TEST.EXAMPLE
        dns_lookup_kdc = false
        dns_lookup_realm = false
        dns_canonicalize_hostname = false
        rdns = false
        ignore_acceptor_hostname = true
      [realms]
        TEST.EXAMPLE = {
          kdc = 127.0.0.1:\(port)
        }
      [domain_realm]
        localhost = TEST.EXAMPLE

      """)
    try write(
      "kdc.conf",
      """
      [kdcdefaults]
        kdc_listen = 127.0.0.1:\(port)
        kdc_tcp_listen = 127.0.0.1:\(port)
      [realms]
        TEST.EXAMPLE = {
          database_name = \(directory)/principal
          key_stash_file = \(directory)/stash
          acl_file = \(directory)/acl
        }
      [logging]
        kdc = FILE:\(directory)/kdc.log
        admin_server = FILE:\(directory)/kdc.log
        default = FILE:\(directory)/kdc.log

      """)
    try write("libvirt.conf", "mech_list: gssapi\nkeytab: \(directory)/libvirt.keytab\n")
    let environment = [
      "KRB5_CONFIG": directory + "/krb5.conf", "KRB5_KDC_PROFILE": directory + "/kdc.conf",
    ]
    var create = Command("/usr/sbin/kdb5_util", "create", "-s", "-P", "m", "-r", "TEST.EXAMPLE")
    create.environment = environment
    try await create.output()
    centre = try Child(["/usr/sbin/krb5kdc", "-n"], environment: environment)
  }

  deinit { centre.end() }

  /// Gets a ticket for fred. It retries while the key distribution centre starts.
  func login() async throws {
    var command = Command("kinit", "-k", "-t", directory + "/fred.keytab", "fred")
    command.environment = clientEnvironment
    let isThere = try await blocking { [command] in
      try eventually { try command.runHere().status == 0 }
    }
    guard isThere else { throw Trouble("kinit: \(try await command.run().errors)") }
  }

  /// Why suites are skipped: the programs that are missing. nil if none is.
  static let whyNot: String? = {
    for program in ["/usr/sbin/krb5kdc", "/usr/sbin/kadmin.local", "/usr/bin/kinit"]
    where access(program, X_OK) != 0 {
      return "there is no \(program)"
    }
    return nil
  }()
}
