// The command line. The C library reads it, so that it behaves like virtproxyd's.
import Broker
@preconcurrency import CGetopt
@preconcurrency import Glibc
import Streams

/// The options of the command line. Paths are absolute.
struct Options: Equatable, Sendable {
  /// A file that must exist; nil: the default one, if it exists.
  var configurationFile: String?
  var isDaemon = false
  var pidFile: String?
  /// Stop after this many seconds without a client; 0: never.
  var timeoutSeconds = 0
  var isVerbose = false
  /// Check the configuration instead of serving.
  var checksConfiguration = false
  /// Check the certificates instead of serving.
  var checksTLS = false
  /// The host and port of a running broker to check as well.
  var connect: String?

  static let version = ProgramVersion.text

  /// What a command line means.
  enum Request: Equatable, Sendable {
    case run(Options)
    case help
    case version
    /// `getopt_long` has already reported the error on standard error.
    case usage
    /// An error to report on standard error.
    case refused(Message)
  }

  /// Reads `arguments`, program name first. Reading ends at a help or version option, as in virtproxyd, so mistakes
  /// after it do not matter.
  static func read(_ arguments: [String]) -> Request {
    let vector = CStrings(arguments)
    var long = longNames.map { name, argument, short in
      option(
        name: UnsafePointer(vector.keep(name)), has_arg: argument, flag: nil,
        val: Int32(short.value))
    }
    // Not an array literal of this element alone: the address sanitizer reports that Swift 6.3.1 reads beyond the end
    // of it.
    long.append(option(name: nil, has_arg: 0, flag: nil, val: 0))
    var options = Options()
    optind = 0  // Makes glibc forget an earlier reading.
    while true {
      let found = getopt_long(vector.count, vector.pointers, shortNames, long, nil)
      if found == -1 { break }
      let argument = optarg.map { String(cString: $0) } ?? ""
      switch UnicodeScalar(UInt8(truncatingIfNeeded: found)) {
      case "f": options.configurationFile = absolute(argument)
      case "d": options.isDaemon = true
      case "p": options.pidFile = absolute(argument)
      case "v": options.isVerbose = true
      case "t":
        guard let seconds = Int32(argument), seconds >= 0 else {
          return .refused(Message(.invalidTimeout, [Int32.max, argument]))
        }
        options.timeoutSeconds = Int(seconds)
      case checkConfiguration: options.checksConfiguration = true
      case checkTLS: options.checksTLS = true
      case connectTo: options.connect = argument
      case "h": return .help
      case "V": return .version
      default: return .usage
      }
    }
    if optind < vector.count {
      // getopt_long has moved the arguments that are not options to the end.
      let stray = vector.string(Int(optind))
      return .refused(Message(.unexpectedArgument, [stray]))
    }
    if options.connect != nil, !options.checksTLS {
      return .refused(Message(.connectWithoutCheckTLS))
    }
    return .run(options)
  }

  static func usage(program: String, places: Places) -> String {
    """

    Usage:
      \(program) [options]

    Options:
      -h | --help            Display program help
      -v | --verbose         Verbose messages
      -d | --daemon          Run as a daemon & write PID file
      -t | --timeout <secs>  Exit after timeout period
      -f | --config <file>   Configuration file
      -V | --version         Display version information
      -p | --pid-file <file> Change name of PID file
      --check-config         Check the configuration, print the settings in effect, and exit:
                             0, or the status a start would fail with
      --check-tls            Check the TLS certificates, say what to do, and exit:
                             0 all is well, 1 something is wrong, 2 it cannot be checked
      --connect <host[:port]>
                             With --check-tls: also what a running broker serves

    libvirt stream broker:

      Default paths:

        Configuration file (unless overridden by -f):
          \(places.configurationFile)

        Sockets:
          \(places.runtimeDirectory)/libvirt-sock
    \(places.isRoot ? "      \(places.runtimeDirectory)/libvirt-sock-ro\n" : "")\
          \(places.runtimeDirectory)/libvirt-admin-sock

        PID file (unless overridden by -p):
          \(places.pidFile)


    """
  }

  private static let shortNames = "f:dp:t:vVh"
  /// Options without a letter have numbers that no letter has.
  private static let checkTLS: UnicodeScalar = "\u{1}"
  private static let connectTo: UnicodeScalar = "\u{2}"
  private static let checkConfiguration: UnicodeScalar = "\u{3}"
  private static let longNames: [(String, Int32, UnicodeScalar)] = [
    ("config", required_argument, "f"),
    ("daemon", no_argument, "d"),
    ("pid-file", required_argument, "p"),
    ("timeout", required_argument, "t"),
    ("verbose", no_argument, "v"),
    ("version", no_argument, "V"),
    ("help", no_argument, "h"),
    ("check-config", no_argument, checkConfiguration),
    ("check-tls", no_argument, checkTLS),
    ("connect", required_argument, connectTo),
  ]
}
