// The settings of TLS: files, names and limits.

/// How clients are accepted over TLS.
public struct TLSSettings: Sendable, Equatable {
  /// The broker's own certificates, of which each client is shown the first that suits it: RSA and ECDSA
  /// side by side, for example.
  public var pairs: [Pair]
  /// Whom the certificates of clients have to come from.
  public var authorityFile: String
  /// The revocation list; nil: none.
  public var revocationFile: String?
  /// The revocation list may be missing, because the configuration does not name it.
  public var mayLackRevocationFile = false
  /// Whether the broker's own certificates are looked at before they are used.
  public var checksOwnCertificates = true
  /// Whether a client whose certificate has a fault is turned away. Otherwise the fault is only logged.
  public var refusesClients = true
  /// Patterns of the distinguished names that are accepted; nil: all.
  public var allowedNames: [String]?
  /// A GnuTLS priority string; nil: the built-in choice.
  public var priority: String?
  /// How long a handshake may take, in seconds.
  public var handshakeSeconds = 10.0
  /// Handshakes under way at the same time. One more ends the oldest of them.
  public var maxHandshakes = 256

  /// A certificate, with what leads from it to an authority behind it, and its key.
  public struct Pair: Sendable, Equatable {
    public var certificateFile: String
    public var keyFile: String
    public init(certificateFile: String, keyFile: String) {
      self.certificateFile = certificateFile
      self.keyFile = keyFile
    }
  }

  public init(pairs: [Pair], authorityFile: String, revocationFile: String? = nil) {
    self.pairs = pairs
    self.authorityFile = authorityFile
    self.revocationFile = revocationFile
  }

  /// The files without which there is no TLS.
  public var necessaryFiles: [String] {
    mayLackRevocationFile ? files.filter { $0 != revocationFile } : files
  }

  /// Every file there is to read, or to wait for.
  var files: [String] {
    pairs.flatMap { [$0.certificateFile, $0.keyFile] } + [authorityFile]
      + (revocationFile.map { [$0] } ?? [])
  }
}
