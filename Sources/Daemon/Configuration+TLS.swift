// The TLS part of the configuration: the files, libvirt's places for them, and contradictions between keys.
import Broker
@preconcurrency import Glibc
import Streams

/// The TLS keys as the file has them.
struct TLSConfiguration: Equatable, Sendable {
  var port = "16514"
  /// nil: not set, libvirt's usual places.
  var keyFiles: [String]?
  var certificateFiles: [String]?
  var authorityFile: String?
  var revocationFile: String?
  var checksNoSanity = false
  var acceptsUnverified = false
  var allowedNames: [String]?
  var priority: String?
  var handshakeSeconds = 10
  var maxHandshakes = 256
}

/// libvirt's places for certificates.
struct TLSPlaces: Equatable, Sendable {
  var certificate: String
  var key: String
  var authority: String
  var revocation: String

  static let system = TLSPlaces(
    certificate: "/etc/pki/libvirt/servercert.pem",
    key: "/etc/pki/libvirt/private/serverkey.pem",
    authority: "/etc/pki/CA/cacert.pem", revocation: "/etc/pki/CA/cacrl.pem")

  /// A user's own files replace the system's where they exist; certificate and key only together.
  static func of(user home: String, exists: (String) -> Bool) -> TLSPlaces {
    var places = TLSPlaces.system
    let own = "\(home)/.pki/libvirt"
    if exists("\(own)/servercert.pem"), exists("\(own)/serverkey.pem") {
      places.certificate = "\(own)/servercert.pem"
      places.key = "\(own)/serverkey.pem"
    }
    if exists("\(own)/cacert.pem") { places.authority = "\(own)/cacert.pem" }
    if exists("\(own)/cacrl.pem") { places.revocation = "\(own)/cacrl.pem" }
    return places
  }
}

extension Configuration {
  /// The broker's settings for TLS.
  func tlsSettings(places: Places) -> TLSSettings {
    let usual =
      places.isRoot
      ? TLSPlaces.system
      : TLSPlaces.of(user: places.home) { access($0, R_OK) == 0 }
    let certificates = tls.certificateFiles ?? [usual.certificate]
    let keys = tls.keyFiles ?? [usual.key]
    var settings = TLSSettings(
      pairs: zip(certificates, keys).map { TLSSettings.Pair(certificateFile: $0, keyFile: $1) },
      authorityFile: tls.authorityFile ?? usual.authority)
    if let file = tls.revocationFile {
      settings.revocationFile = file
    } else if tls.certificateFiles == nil {
      // If the keys name the files, there is no default revocation list.
      settings.revocationFile = usual.revocation
      settings.mayLackRevocationFile = true
    }
    settings.checksOwnCertificates = !tls.checksNoSanity
    settings.refusesClients = !tls.acceptsUnverified
    settings.allowedNames = tls.allowedNames
    settings.priority = tls.priority
    settings.handshakeSeconds = Double(tls.handshakeSeconds)
    settings.maxHandshakes = tls.maxHandshakes
    return settings
  }

  /// Errors in the combination of the TLS keys.
  /// - Parameter place: how messages name a key.
  func tlsContradictions(_ place: (String) -> String) -> [Diagnostic] {
    var found: [Diagnostic] = []
    let given = [
      ("cert_file", tls.certificateFiles != nil), ("key_file", tls.keyFiles != nil),
      ("ca_file", tls.authorityFile != nil),
    ]
    let missing = given.filter { !$0.1 }.map(\.0)
    if !missing.isEmpty, let set = given.first(where: \.1) {
      found.append(
        Diagnostic(.tlsFilesIncomplete, [place(set.0), missing.joined(separator: " and ")]))
    }
    if let certificates = tls.certificateFiles, let keys = tls.keyFiles,
      certificates.count != keys.count
    {
      found.append(
        Diagnostic(
          .unpairedCertificates,
          [
            place("cert_file"), counted(certificates.count, "certificate"),
            counted(keys.count, "key"),
          ]))
    }
    return found
  }
}
