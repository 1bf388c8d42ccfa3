// What the program is, and which libraries it runs with: those that are there now, not those it was built with.
import Streams

/// Versions, as `--version` prints them.
public enum ProgramVersion {
  public static let text = ProjectVersion.text

  /// The libraries that what a client meets depends on.
  public static var libraries: String {
    [
      "GnuTLS \(TLSLibrary.version)", "libev \(Reactor.libraryVersion)",
      "Cyrus SASL \(SASLService.libraryVersion)", "libmicrohttpd \(MetricsServer.libraryVersion)",
    ].joined(separator: ", ")
  }
}
