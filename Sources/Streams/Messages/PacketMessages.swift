// VB-PKT: packets that break the protocol.

extension MessageDefinition {
  public static let protocolViolation = MessageDefinition(
    "VB-PKT-001", .warning, "protocol violation: …",
    "The connection that sent the packet is closed; others are not affected. From a libvirt program this means damaged "
      + "data or a defect in that program. From an unknown address it can be another protocol or an attack."
  )

  // MARK: Packets of either side

  static let packetLengthOutOfRange = MessageDefinition(
    "VB-PKT-002", .warning, "packet length … is not between … and …",
    "The peer does not speak libvirt's protocol.")
  static let packetLooksLikeTLS = MessageDefinition(
    "VB-PKT-003", .warning,
    "packet length … is not between … and …: this looks like TLS, which has a port of its own",
    "The client uses TLS on the port for plain TCP. Use the port of `tls_port`, or `tcp` in the client's URI."
  )
  static let descriptorCountMissing = MessageDefinition(
    "VB-PKT-004", .warning, "packet with descriptors is too short for their count")
  static let tooManyDescriptorsInPacket = MessageDefinition(
    "VB-PKT-005", .warning, "packet with … descriptors: at most … are allowed")
  static let descriptorsOverNetwork = MessageDefinition(
    "VB-PKT-006", .warning, "packet with descriptors on a connection that cannot carry descriptors",
    "Descriptors can be passed over UNIX sockets only.")
  static let descriptorOnDataByte = MessageDefinition(
    "VB-PKT-007", .warning, "descriptor attached to a data byte")
  static let tooManyDescriptorsWaiting = MessageDefinition(
    "VB-PKT-008", .warning, "more than … descriptors are waiting on this connection")
  static let bodyTooShort = MessageDefinition(
    "VB-PKT-009", .warning, "body ends … bytes into a value of … bytes")
  static let tooManyBytes = MessageDefinition(
    "VB-PKT-010", .warning, "… bytes where at most … are allowed")
  static let tooManyCharacters = MessageDefinition(
    "VB-PKT-011", .warning, "… characters where at most … are allowed")
  static let tooManyElements = MessageDefinition(
    "VB-PKT-012", .warning, "… elements where at most … are allowed")
  static let repairedStringTooLong = MessageDefinition(
    "VB-PKT-013", .warning, "a string that is not UTF-8 is longer than … bytes when repaired")
  static let unknownParameterType = MessageDefinition(
    "VB-PKT-014", .warning, "typed parameter of unknown type …")

  // MARK: Packets of clients

  static let callDescriptorsMissing = MessageDefinition(
    "VB-PKT-020", .warning, "call announces more descriptors than came with it")
  static let descriptorUnannounced = MessageDefinition(
    "VB-PKT-021", .warning, "descriptor outside a packet that announces descriptors")
  static let descriptorBeforeOpen = MessageDefinition(
    "VB-PKT-022", .warning, "descriptor before the client's CONNECT_OPEN has succeeded")
  static let holeOnPlainStream = MessageDefinition(
    "VB-PKT-023", .warning, "hole on stream …, which is not sparse")
  static let descriptorRequestedOverNetwork = MessageDefinition(
    "VB-PKT-024", .warning, "call that returns a descriptor, which this connection cannot carry",
    "The client called a procedure that passes a descriptor. Such procedures need a UNIX socket all the way."
  )

  // MARK: Packets of backends

  static let backendPacketTypeInvalid = MessageDefinition(
    "VB-PKT-030", .warning, "packet of type …, which no server sends",
    "The backend's version may not be compatible with the broker's.")
  static let replyDescriptorsMissing = MessageDefinition(
    "VB-PKT-031", .warning, "reply announces more descriptors than came with it")
  static let replyTooLarge = MessageDefinition(
    "VB-PKT-032", .warning, "reply of … bytes is too large")
  static let eventTooLarge = MessageDefinition(
    "VB-PKT-034", .warning, "event of … bytes is too large")
  static let tooManyEventsHeld = MessageDefinition(
    "VB-PKT-035", .warning, "more than … bytes of events came before the backend was open again")
  static let streamPacketOutOfOrder = MessageDefinition(
    "VB-PKT-033", .warning, "packet out of order on stream …",
    "The backend sent a stream packet that its own earlier packets rule out. Its version may not be compatible."
  )
}
