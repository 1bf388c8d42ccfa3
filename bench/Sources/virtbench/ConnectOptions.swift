// The address and the credentials of a connection: the same for all clients.
import ArgumentParser
import Ends

struct ConnectOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Where to connect: unix:PATH, tcp:HOST:PORT or tls:HOST:PORT.", valueName: "uri"))
  var uri: Place

  @Option(
    help: ArgumentHelp(
      "With tls: the CA certificate (PEM) that the server's must come from. Default: the system's.",
      valueName: "file"))
  var ca: String?

  @Option(
    help: ArgumentHelp("With tls: our own certificate (PEM).", valueName: "file"))
  var cert: String?

  @Option(
    help: ArgumentHelp("With tls: the key of our certificate (PEM).", valueName: "file"))
  var key: String?

  @Flag(help: "With tls: take any certificate of the server's.")
  var insecure = false

  /// The address with its credentials. The files are read now, so that an error is reported first.
  func place() throws -> Place {
    guard case .tls(let host, let port, _) = uri else {
      guard ca == nil, cert == nil, key == nil, !insecure else {
        throw ValidationError("--ca, --cert, --key and --insecure go with a tls: URI")
      }
      return uri
    }
    let credentials = try TLSCredentials(
      authorities: ca, certificate: cert, key: key, isVerifying: !insecure)
    return .tls(host: host, port: port, credentials)
  }
}
