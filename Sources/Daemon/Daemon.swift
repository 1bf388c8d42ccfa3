// virtbrokerd: the program, and how it starts.
import Broker
@preconcurrency import Glibc
import Logging

@main
struct Daemon {
  static func main() {
    holdStandardDescriptors()
    unblockSignals()
    let places = Places.ofThisProcess()
    let program = CommandLine.arguments.first ?? "virtbrokerd"
    switch Options.read(CommandLine.arguments) {
    case .run(let options) where options.checksTLS:
      exit(Daemon(options: options, places: places).checkTLS())
    case .run(let options):
      let background = Background()
      if options.isDaemon && background == nil { startAgainInBackground(program) }
      exit(Daemon(options: options, places: places).run(background))
    case .help:
      say(Options.usage(program: program, places: places), to: STDERR_FILENO)
    case .version:
      say("\(program) (virtbroker) \(Options.version)\n", to: STDOUT_FILENO)
    case .usage:
      say(Options.usage(program: program, places: places), to: STDERR_FILENO)
      exit(EXIT_FAILURE)
    case .refused(let why):
      say("\(why)\n", to: STDERR_FILENO)
      exit(EXIT_FAILURE)
    }
  }

  let options: Options
  let places: Places

  /// Serves until told to stop. Returns the exit status.
  private func run(_ background: consuming Background?) -> Int32 {
    var background = background
    // Until the configuration has been read, what there is to say goes to standard error.
    var outputs = OpenLogOutputs.stderr
    do throws(StartFailure) {
      let (configuration, findings) = try Configuration.load(
        options.configurationFile ?? places.configurationFile,
        mayBeMissing: options.configurationFile == nil)
      let plan = try LogPlan(
        configuration: configuration, environment: Places.environment(LogPlan.variables),
        isVerbose: options.isVerbose, otherwise: usualLogDestination())
      outputs = try OpenLogOutputs(plan.outputs)
      let log = logger(outputs, level: plan.level)
      for finding in plan.findings + findings { log.log(finding) }
      if let failure = findings.failure { throw failure }

      let names = SocketNames.choose(
        in: configuration.socketDirectory ?? places.runtimeDirectory,
        isUsual: configuration.socketDirectory == nil, programs: .ofThisProcess())
      if let reason = names.reason { log.warning("\(reason)") }
      let settings = try configuration.settings(
        places: places, names: names, idleSeconds: options.timeoutSeconds)
      try makeRuntimeDirectory(configuration)
      let pidFile = try PidFile(options.pidFile ?? places.pidFile)
      raiseDescriptorLimit()
      let broker = try makeBroker(settings, BrokerLog(log))
      broker.obeySignals(log: log)
      log.info("virtbrokerd \(Options.version) is ready")
      background.take()?.reportReady()
      broker.run()
      log.info("stopped")
      pidFile.remove()
      return EXIT_SUCCESS
    } catch {
      for sentence in error.sentences { outputs.write(.error, sentence) }
      background.take()?.report(error)
      return error.stage.rawValue
    }
  }

  /// In the foreground standard error, which a service manager reads as well; in the background the
  /// system's log where there is a journal behind it, else a file whose directory is ours to make.
  private func usualLogDestination() -> LogOutput.Destination {
    guard options.isDaemon else { return .stderr }
    if access("/run/systemd/journal/socket", W_OK) == 0 { return .syslog(name: "virtbrokerd") }
    let slash = places.logFile.lastIndex(of: "/") ?? places.logFile.startIndex
    _ = makeDirectories(String(places.logFile[..<slash]), mode: 0o700)
    return .file(path: places.logFile)
  }

  private func logger(_ outputs: OpenLogOutputs, level: BrokerLog.Level) -> Logger {
    LoggingSystem.bootstrap { _ in LibvirtLogHandler(outputs) }
    var log = Logger(label: "virtbrokerd")
    log.logLevel = level.swiftLog
    return log
  }

  /// A configured directory is the administrator's; the default one is ours to make.
  private func makeRuntimeDirectory(_ configuration: Configuration) throws(StartFailure) {
    guard configuration.socketDirectory == nil else { return }
    guard makeDirectories(places.runtimeDirectory, mode: places.isRoot ? 0o755 : 0o700) else {
      throw StartFailure(
        .runtimeDirectory, "cannot make the directory \(places.runtimeDirectory): \(reason())")
    }
  }

  private func makeBroker(
    _ settings: BrokerSettings, _ log: BrokerLog
  ) throws(StartFailure) -> Broker {
    do {
      return try Broker(settings: settings, log: log)
    } catch {
      throw StartFailure(.network, error.description)
    }
  }

  private static func startAgainInBackground(_ program: String) -> Never {
    do {
      try Background.launch(CommandLine.arguments)
      exit(EXIT_SUCCESS)
    } catch {
      say("\(program): \(error)\n", to: STDERR_FILENO)
      exit(EXIT_FAILURE)
    }
  }

  private static func say(_ text: String, to descriptor: CInt) {
    LogLine.write(text, to: descriptor)
  }
}
