// The program's version, and those of the libraries that are loaded now, not of those it was built with.
import Streams

/// Versions in the form that `--version` prints.
public enum ProgramVersion {
  public static let text = ProjectVersion.text

  /// The libraries that affect what a client observes.
  public static var libraries: String {
    [
      "GnuTLS \(TLSLibrary.version)", "libev \(Reactor.libraryVersion)",
      "Cyrus SASL \(SASLService.libraryVersion)", "libmicrohttpd \(MetricsServer.libraryVersion)",
    ].joined(separator: ", ")
  }
}
