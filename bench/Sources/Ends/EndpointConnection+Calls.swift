// The replies of the synthetic daemon.
import Glibc
import Streams

extension EndpointConnection {
  /// The limit on the delay of held replies, in milliseconds.
  private static let longestHold: UInt64 = 3_600_000

  /// Version 9.0.0 as a result.
  nonisolated(unsafe) private static let version: UnsafeRawBufferPointer = {
    let body = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 8)
    body.storeBytes(of: UInt64(9_000_000).bigEndian, as: UInt64.self)
    return UnsafeRawBufferPointer(body)
  }()

  func answer(_ call: PacketHeader) throws(EndFailure) {
    switch call.procedure {
    case Remote.authList: try reply(call, AuthListResult(types: [AuthListResult.none]))
    case Remote.connectSupportsFeature: try reply(call, FeatureResult(supported: 1))
    case Remote.connectGetURI: try reply(call, GetURIResult(uri: "qemu:///system"))
    case Remote.connectClose:
      isClosing = true
      try reply(call)
    case Remote.connectOpen, Remote.connectSetIdentity, Remote.connectRegisterCloseCallback,
      Remote.connectUnregisterCloseCallback:
      try reply(call)
    case Call.domainCallbackRegister: try registerCallback(call)
    case Call.domainCallbackDeregister:
      events = nil
      try reply(call)
    case Call.getLibVersion, Call.getVersion:
      // This call is measured, so the reply is made without allocations.
      var reply = call
      reply.kind = .reply
      try outflow.put(reply, Self.version)
    case Call.getType: try reply(call, TextBody("QEMU"))
    case Call.getHostname: try reply(call, TextBody("virtbench"))
    case Call.isSecure, Call.domainIsActive, Call.domainIsPersistent, Call.poolIsActive:
      try reply(call, WordsBody(1))
    case Call.domainGetState: try reply(call, WordsBody(1, 1))
    case Call.listAllDomains, Call.domainEventsRegister, Call.domainEventsDeregister:
      // No domains, and no callbacks of the oldest kind.
      try reply(call, WordsBody(0, 0))
    case Call.domainLookupByName: try lookUpDomain(call)
    case Call.domainLookupByID, Call.domainLookupByUUID:
      try reply(call, DomainBody(name: "bench"))
    case Call.poolLookupByName:
      try reply(call, PoolBody(name: try decode(TextBody.self, of: call).text))
    case Call.volumeLookupByName:
      let arguments = try decode(VolumeLookupArguments.self, of: call)
      try reply(call, VolumeBody(pool: arguments.pool.name, name: arguments.name))
    case Call.volumeLookupByKey, Call.volumeLookupByPath:
      let name = try decode(TextBody.self, of: call).text
      try reply(call, VolumeBody(pool: "bench", name: name))
    case Call.volumeGetInfo: try reply(call, VolumeInfoBody(bytes: settings.volumeBytes))
    case Remote.storageVolDownload, Remote.storageVolUpload, Call.migratePrepareTunnel,
      Call.domainOpenConsole, Call.domainOpenChannel:
      try reply(call)
      try open(call)
    case Call.migratePrepareTunnel3, Call.migratePrepareTunnel3Params:
      // The result is a cookie of no bytes.
      try reply(call, WordsBody(0))
      try open(call)
    default: try refuse(call, "unknown procedure: \(call.procedure)")
    }
  }

  /// Every domain exists; the name can request a delay.
  private func lookUpDomain(_ call: PacketHeader) throws(EndFailure) {
    let name = try decode(TextBody.self, of: call).text
    let packet = Packets.reply(answering: call, DomainBody(name: name))
    if name.hasPrefix(Endpoint.holdPrefix),
      let milliseconds = UInt64(name.dropFirst(Endpoint.holdPrefix.count))
    {
      hold(packet, milliseconds: min(milliseconds, Self.longestHold))
    } else {
      try outflow.put(packet)
    }
  }

  /// A callback can be registered for any kind of event. A domain's name can request lifecycle events.
  private func registerCallback(_ call: PacketHeader) throws(EndFailure) {
    let arguments = try decode(EventRegisterArguments.self, of: call)
    // The only possible callback.
    let callback: Int32 = 0
    if arguments.kind == EventRegisterArguments.lifecycle, let domain = arguments.domain,
      domain.name.hasPrefix(Endpoint.eventsPrefix),
      let rate = Double(domain.name.dropFirst(Endpoint.eventsPrefix.count)), rate > 0,
      rate <= EventSource.fastest
    {
      events = try EventSource(callback: callback, domain: domain, perSecond: rate)
    }
    try reply(call, CallbackBody(callback: callback))
  }

  func refuse(_ call: PacketHeader, _ reason: String) throws(EndFailure) {
    try outflow.put(Packets.error(answering: call, RemoteError(.rpc, reason)))
  }

  private func reply(_ call: PacketHeader) throws(EndFailure) {
    try outflow.put(Packets.reply(answering: call))
  }

  private func reply(_ call: PacketHeader, _ body: some XDRBody) throws(EndFailure) {
    try outflow.put(Packets.reply(answering: call, body))
  }
}
