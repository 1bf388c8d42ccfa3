// virtbrokerd: the program and its start.
import Broker
@preconcurrency import Glibc
import Streams

@main
struct Daemon {
  static func main() {
    holdStandardDescriptors()
    unblockSignals()
    let places = Places.ofThisProcess()
    let program = CommandLine.arguments.first ?? "virtbrokerd"
    switch Options.read(CommandLine.arguments) {
    case .run(let options) where options.checksConfiguration:
      exit(Daemon(options: options, places: places).checkConfiguration())
    case .run(let options) where options.checksTLS:
      exit(Daemon(options: options, places: places).checkTLS())
    case .run(let options):
      let background = Background()
      if options.isDaemon && background == nil { startAgainInBackground(program) }
      exit(Daemon(options: options, places: places).run(background))
    case .help:
      say(Options.usage(program: program, places: places), to: STDERR_FILENO)
    case .version:
      say(
        "\(program) (virtbroker) \(Options.version)\n\(ProgramVersion.libraries)\n",
        to: STDOUT_FILENO)
    case .usage:
      say(Options.usage(program: program, places: places), to: STDERR_FILENO)
      exit(EXIT_FAILURE)
    case .refused(let message):
      say("\(program): \(message.line)\n", to: STDERR_FILENO)
      exit(EXIT_FAILURE)
    }
  }

  let options: Options
  let places: Places

  /// Serves until a signal or the idle timeout stops the daemon. Returns the exit status.
  private func run(_ background: consuming Background?) -> Int32 {
    var background = background
    let environment = Daemon.takeEnvironment()
    // Until the configuration has been read, log lines go to standard error.
    let log = LogBook()
    do throws(StartFailure) {
      let (configuration, diagnostics) = try loadConfiguration()
      let usual = usualLogDestination()
      let plan = try logPlan(configuration, usual: usual)
      let wanted = try serviceUser(configuration)
      try log.follow(plan, usual: usual, for: wanted?.account)
      // A thread that writes the log must not keep rights that the process gives up.
      if wanted == nil { log.begin() }
      for diagnostic in plan.diagnostics + diagnostics { log[.configuration].report(diagnostic) }
      if let failure = diagnostics.failure { throw failure }

      let activation = try activation(environment, log[.systemd])
      let names =
        activation == nil
        ? SocketNames.choose(
          in: configuration.socketDirectory ?? places.runtimeDirectory,
          isUsual: configuration.socketDirectory == nil, programs: .ofThisProcess()) : .usual
      if let reason = names.reason { log[.daemon].write(reason) }
      var settings = try configuration.settings(
        places: places, names: names, idleSeconds: options.timeoutSeconds, activation: activation)
      let user = possible(wanted, log: log[.daemon])
      settings.account = user?.account
      if activation == nil { try makeRuntimeDirectory(configuration) }
      let pidFile = try PidFile(options.pidFile ?? usualPidFile(for: user), for: user?.account)
      raiseDescriptorLimit()
      let broker = try makeBroker(settings, log[.server])
      if let user { try become(user, pidFile: pidFile, settings: settings, log: log) }
      log.begin()

      broker.logSteering = log.steering
      let reloading = Reloading(
        configuration, of: self, on: broker, sockets: (names, activation), log: log)
      let manager = ServiceManager(
        environment: environment, process: getpid(), log: log[.systemd])
      broker.obeySignals(reloading, manager, log: log[.daemon])
      log[.daemon].write(.ready, [Options.version])
      background.take()?.reportReady()
      manager?.watch(broker)
      broker.run()
      log[.daemon].write(.stopped)
      pidFile.remove()
      // The loop calls both as long as it runs.
      withExtendedLifetime((reloading, manager)) {}
      log.flush()
      return EXIT_SUCCESS
    } catch {
      for message in error.messages { log[.daemon].write(message) }
      log.flush()
      if background != nil {
        background.take()?.report(error)
      } else if !log.outputs.reachStandardError {
        error.tellAtStandardError()
      }
      return error.stage.rawValue
    }
  }

  func loadConfiguration() throws(StartFailure) -> (Configuration, [Diagnostic]) {
    try Configuration.load(
      options.configurationFile ?? places.configurationFile,
      mayBeMissing: options.configurationFile == nil)
  }

  func logPlan(
    _ configuration: Configuration, usual: LogOutput.Destination
  ) throws(StartFailure) -> LogPlan {
    try LogPlan(
      configuration: configuration, environment: Places.environment(LogPlan.variables),
      isVerbose: options.isVerbose, otherwise: usual)
  }

  /// The service manager's variables for this process. They leave the environment, so that no program the daemon starts
  /// uses them.
  private static func takeEnvironment() -> [String: String] {
    let names = Activation.variables + ServiceManager.variables
    // An empty variable counts as set.
    let values = names.compactMap { name in getenv(name).map { (name, String(cString: $0)) } }
    for name in names { unsetenv(name) }
    return Dictionary(uniqueKeysWithValues: values)
  }

  private func activation(
    _ environment: [String: String], _ log: BrokerLog
  ) throws(StartFailure) -> Activation? {
    guard let named = Activation.named(environment, process: getpid(), log: log) else { return nil }
    let activation = try Activation(named)
    for socket in activation.sockets {
      log.write(.activatedSocketReceived, [socket.name, socket.descriptor])
    }
    return activation
  }

  /// In the background or without a terminal, the journal if there is one. Otherwise, in the foreground standard error,
  /// which a service manager reads as well, and in the background a file whose directory the daemon creates.
  func usualLogDestination() -> LogOutput.Destination {
    let isWatched = !options.isDaemon && isatty(STDIN_FILENO) == 1
    if !isWatched, access(JournalSocket.usualPath, W_OK) == 0 { return .journald }
    guard options.isDaemon else { return .stderr }
    let slash = places.logFile.lastIndex(of: "/") ?? places.logFile.startIndex
    _ = makeDirectories(String(places.logFile[..<slash]), mode: 0o700)
    return .file(path: places.logFile)
  }

  /// A user other than root can remove the file only from a directory of its own, which root creates for it.
  private func usualPidFile(for user: ServiceUser?) -> String {
    guard let user else { return places.pidFile }
    let directory = Places.userRuntimeDirectory
    guard makeDirectories(directory, mode: 0o755) else { return places.pidFile }
    let place = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    defer { if place >= 0 { close(place) } }
    guard place >= 0, fchown(place, user.uid, user.gid) == 0 else { return places.pidFile }
    return "\(directory)/virtbrokerd.pid"
  }

  /// The administrator creates a configured directory; the daemon creates the default one.
  private func makeRuntimeDirectory(_ configuration: Configuration) throws(StartFailure) {
    guard configuration.socketDirectory == nil else { return }
    guard makeDirectories(places.runtimeDirectory, mode: places.isRoot ? 0o755 : 0o700) else {
      throw StartFailure(
        .runtimeDirectory, .cannotCreateDirectory, [places.runtimeDirectory, reason()])
    }
  }

  private func makeBroker(
    _ settings: BrokerSettings, _ log: BrokerLog
  ) throws(StartFailure) -> Broker {
    do {
      return try Broker(settings: settings, log: log)
    } catch {
      throw StartFailure(.network, [error.message])
    }
  }

  private static func startAgainInBackground(_ program: String) -> Never {
    do throws(StartFailure) {
      try Background.launch(CommandLine.arguments)
      exit(EXIT_SUCCESS)
    } catch {
      for message in error.messages { say("\(program): \(message.line)\n", to: STDERR_FILENO) }
      exit(EXIT_FAILURE)
    }
  }

  private static func say(_ text: String, to descriptor: CInt) {
    LogLine.write(text, to: descriptor)
  }
}
