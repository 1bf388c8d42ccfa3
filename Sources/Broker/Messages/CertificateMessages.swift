// VB-CERT: what the checks of certificates, keys and revocation lists find. Many of these follow the name of a file or
// of a certificate: `/etc/pki/libvirt/servercert.pem: certificate 'CN=host': expired on …`.
public import Streams

// MARK: Files

extension MessageDefinition {
  static let fileNotOpened = MessageDefinition(
    "VB-CERT-001", .error, "…: cannot open the file: …",
    "The file is missing, or the broker's user may not read it. Certificates are in `/etc/pki` unless `ca_file`, `cert_file` and `key_file` name others. `virtbroker-pki` makes them ([certificates.md](certificates.md))."
  )
  static let fileNotRead = MessageDefinition(
    "VB-CERT-002", .error, "…: cannot read the file: …")
  static let fileNotRegular = MessageDefinition(
    "VB-CERT-003", .error, "…: not a regular file")
  static let fileTooLarge = MessageDefinition(
    "VB-CERT-004", .error, "…: larger than … KiB",
    "The setting names a wrong file.")
  static let noServerCertificate = MessageDefinition(
    "VB-CERT-005", .error, "no server certificate is configured (cert_file is an empty list)")
  static let noCertificateInFile = MessageDefinition(
    "VB-CERT-006", .error, "…: contains no certificate",
    "The file is empty or holds a key. `certtool -i --infile FILE` shows what it contains.")
  static let certificatesNotDecoded = MessageDefinition(
    "VB-CERT-007", .error, "…: cannot decode the certificates: …",
    "The file is not in PEM format. `certtool -i --infile FILE` shows what it contains.")
  static let certificateNotDecoded = MessageDefinition(
    "VB-CERT-008", .error, "…: cannot decode a certificate: …",
    "The certificate is damaged. Make a new one.")
  static let keyMismatch = MessageDefinition(
    "VB-CERT-009", .error, "…: the key does not belong to the certificate in …",
    "The files belong to two different pairs. Copy both again, or make both anew.")
  static let keyUnusable = MessageDefinition(
    "VB-CERT-010", .error, "…: cannot use the key with the certificate in …: …")
  static let authoritiesUnusable = MessageDefinition(
    "VB-CERT-011", .error, "…: cannot use the authority certificates: …")
  static let noAuthorities = MessageDefinition(
    "VB-CERT-012", .error, "…: contains no authority certificate")
  static let revocationListUnusable = MessageDefinition(
    "VB-CERT-013", .error, "…: cannot use the revocation list: …")
  static let noRevocationList = MessageDefinition(
    "VB-CERT-014", .error, "…: contains no revocation list")
  static let revocationListNotDecoded = MessageDefinition(
    "VB-CERT-015", .error, "…: cannot decode the revocation list: …",
    "`crl_file` names a file that is not a revocation list in PEM format.")
  static let revocationListMissing = MessageDefinition(
    "VB-CERT-016", .warning,
    "…: the revocation list is missing; keeping the list read before, until virtbrokerd is restarted",
    "Without the list revoked clients could connect again. Restore the file, or restart virtbrokerd if there is no list any more."
  )
  static let revocationListOutdated = MessageDefinition(
    "VB-CERT-017", .warning, "…: the revocation list expired on …; later revocations are unknown",
    "Fetch or make a new list.")
  static let keyReadableByOthers = MessageDefinition(
    "VB-CERT-018", .warning, "…: other users can read the key: chmod o-rwx …",
    "Other users may have copied the key. Consider making a new one.")
  static let ownChainIncomplete = MessageDefinition(
    "VB-CERT-019", .error, "…: does not lead to an authority in …: …",
    "Another authority signed the certificate, or an intermediate certificate is missing. Append intermediate certificates to the file of `cert_file`."
  )
}

// MARK: Expiry

extension MessageDefinition {
  static let expiryFarOff = MessageDefinition(
    "VB-CERT-020", .info, "…: … expires in …, on …")
  static let expiryNear = MessageDefinition(
    "VB-CERT-021", .warning, "…: … expires in …, on …; renew it in time",
    "Logged 30, 14, 7 and 1 days before. `virtbroker-pki server NAME --renew` renews a server's certificate."
  )
  static let expiryPassed = MessageDefinition(
    "VB-CERT-022", .error, "…: … expired on …; renew it and run systemctl reload virtbrokerd",
    "`virtbroker-pki server NAME --renew` renews a server's certificate. Check this host's clock as well."
  )
}

// MARK: A certificate and its use

extension MessageDefinition {
  static let certificateExpired = MessageDefinition(
    "VB-CERT-023", .error, "expired on …",
    "Make a new certificate: `virtbroker-pki server NAME --renew` or `virtbroker-pki client NAME --renew`. Check the clock as well."
  )
  static let certificateNotYetValid = MessageDefinition(
    "VB-CERT-024", .error, "not valid before …",
    "The clock of this host, or of the host that made the certificate, is wrong.")
  static let constraintsOfAuthority = MessageDefinition(
    "VB-CERT-025", .error,
    "basic constraints of a certificate authority; expected a certificate of …",
    "The authority's own certificate is used for a server or client. Make a certificate for it.")
  static let constraintsOfNoAuthority = MessageDefinition(
    "VB-CERT-026", .error, "basic constraints say that it is not a certificate authority",
    "The file of `ca_file` contains an ordinary certificate. The authority's template needs `ca`.")
  static let constraintsMissing = MessageDefinition(
    "VB-CERT-027", .error, "no basic constraints, which a certificate authority needs",
    "The file of `ca_file` contains an ordinary certificate. The authority's template needs `ca`.")
  static let criticalKeyUsageLacks = MessageDefinition(
    "VB-CERT-028", .error, "critical key usage without …",
    "The certificate may not be used for this. Make one that may.")
  static let keyUsageLacks = MessageDefinition(
    "VB-CERT-029", .warning, "key usage without …",
    "libvirt accepts such a certificate as well. Replace it at the next renewal.")
  static let criticalPurposeLacks = MessageDefinition(
    "VB-CERT-030", .error, "critical extended key usage without the purpose … (…)",
    "A client's certificate is used for a server, or the reverse. Make one for the right purpose.")
  static let purposeLacks = MessageDefinition(
    "VB-CERT-031", .warning, "extended key usage without the purpose … (…)",
    "A client's certificate is used for a server, or the reverse. libvirt accepts it as well.")
}

// MARK: Peers

extension MessageDefinition {
  static let noPeerCertificate = MessageDefinition(
    "VB-CERT-032", .error, "the peer sent no certificate",
    "A client has no certificate, or not where it looks: `~/.pki/libvirt/clientcert.pem` and `clientkey.pem`, for root `/etc/pki/libvirt/clientcert.pem` and `private/clientkey.pem`, or in the directory of `?pkipath=`."
  )
  static let peerCertificateNotDecoded = MessageDefinition(
    "VB-CERT-033", .error, "cannot decode the peer's certificate: …")
  static let peerNotVerified = MessageDefinition(
    "VB-CERT-034", .error, "verification failed: …",
    "The certificate does not come from the broker's authority (`ca_file`). The reason follows.")
  static let issuerDiagnostic = MessageDefinition(
    "VB-CERT-035", .error, "issuer '…': …")
  static let noDistinguishedName = MessageDefinition(
    "VB-CERT-036", .error, "no distinguished name",
    "The broker could not tell whose connection it is. Make a certificate with a common name (CN).")
  static let nameNotAllowed = MessageDefinition(
    "VB-CERT-037", .error, "not in tls_allowed_dn_list",
    "Add the name to `tls_allowed_dn_list`, written as it is in this message.")
  static let noNameAllowed = MessageDefinition(
    "VB-CERT-038", .error, "tls_allowed_dn_list is empty: no client is accepted",
    "Add names to `tls_allowed_dn_list`, or remove the setting to accept every client with a certificate of the authority."
  )
  static let notForHost = MessageDefinition(
    "VB-CERT-039", .error, "not valid for host '…'",
    "Make a certificate with that name as subject alternative name (`virtbroker-pki server NAME... --renew` with all names), or connect with a name that the certificate has."
  )
}

// MARK: Verification of a chain

extension MessageDefinition {
  static let chainRevoked = MessageDefinition(
    "VB-CERT-040", .error, "revoked", "The revocation list names the certificate.")
  static let chainIssuerUnknown = MessageDefinition(
    "VB-CERT-041", .error, "unknown issuer",
    "Another authority signed the certificate, or its owner does not send an intermediate certificate."
  )
  static let chainIssuerNotAuthority = MessageDefinition(
    "VB-CERT-042", .error, "the issuer is not a certificate authority",
    "The certificate was signed with an ordinary certificate.")
  static let chainInsecureAlgorithm = MessageDefinition(
    "VB-CERT-043", .error, "signed with an insecure algorithm",
    "SHA-1 or a short key. Make a new certificate.")
  static let chainNotActivated = MessageDefinition(
    "VB-CERT-044", .error, "the certificate or one of its issuers is not valid yet",
    "Check the clock.")
  static let chainExpired = MessageDefinition(
    "VB-CERT-045", .error, "the certificate or one of its issuers has expired",
    "Make a new one; check the clock.")
  static let chainSignatureInvalid = MessageDefinition(
    "VB-CERT-046", .error, "invalid signature",
    "The file was changed, or another authority has the same name.")
  static let chainRevocationListOutdated = MessageDefinition(
    "VB-CERT-047", .error, "the revocation list is out of date", "Fetch a new list.")
  static let chainRevocationListInFuture = MessageDefinition(
    "VB-CERT-048", .error, "the revocation list is dated in the future", "Check the clock.")
  static let chainConstraintsViolated = MessageDefinition(
    "VB-CERT-049", .error, "violates the constraints of its issuer",
    "The authority may not sign such names.")
  static let chainPurposeMismatch = MessageDefinition(
    "VB-CERT-050", .error, "not valid for this purpose",
    "A server's certificate is used for a client, or the reverse.")
  static let chainExtensionUnknown = MessageDefinition(
    "VB-CERT-051", .error, "has an unknown critical extension",
    "GnuTLS does not know the extension. Make a certificate without it.")
  static let chainNotTrusted = MessageDefinition("VB-CERT-052", .error, "not trusted")
}

// MARK: Decoding

extension MessageDefinition {
  static let datesNotDecoded = MessageDefinition("VB-CERT-053", .error, "cannot decode the dates")
  static let nameNotDecoded = MessageDefinition("VB-CERT-054", .error, "cannot decode a name: …")
  static let constraintsNotDecoded = MessageDefinition(
    "VB-CERT-055", .error, "cannot decode the basic constraints: …")
  static let keyUsageNotDecoded = MessageDefinition(
    "VB-CERT-056", .error, "cannot decode the key usage: …")
  static let purposesNotDecoded = MessageDefinition(
    "VB-CERT-057", .error, "cannot decode the extended key usage: …")
  static let notX509 = MessageDefinition(
    "VB-CERT-058", .error, "not an X.509 certificate",
    "libvirt does not use OpenPGP or raw keys.")
}

// MARK: Limits on a peer's certificates

extension MessageDefinition {
  static let rsaKeyTooLong = MessageDefinition(
    "VB-CERT-059", .error, "RSA key of … bits; at most … are accepted",
    "The broker refuses it before it computes anything with the key. Make a key of a usual size; otherwise the peer tries to occupy the broker."
  )
  static let rsaExponentTooLong = MessageDefinition(
    "VB-CERT-060", .error, "RSA key with an exponent of … bits; at most … are accepted",
    "Make a key with a usual exponent; otherwise the peer tries to occupy the broker.")
  static let rsaKeyNotDecoded = MessageDefinition(
    "VB-CERT-061", .error, "cannot decode the RSA key")
  static let keyTypeNotAccepted = MessageDefinition(
    "VB-CERT-062", .error, "key of type …; RSA, ECDSA and EdDSA are accepted")
  static let chainTooLong = MessageDefinition(
    "VB-CERT-063", .error, "more than … certificates in the chain")
  static let chainTooComplex = MessageDefinition(
    "VB-CERT-064", .error, "more than … elements in the certificates",
    "A usual certificate has about 100; each name in it adds one.")
  static let certificateNotDER = MessageDefinition(
    "VB-CERT-065", .error, "a certificate is not in DER format")
  static let certificateMessageNotDecoded = MessageDefinition(
    "VB-CERT-066", .error, "cannot decode the Certificate message")
  static let certificateMessageTooLong = MessageDefinition(
    "VB-CERT-067", .error, "the Certificate message is larger than … KiB")
}

// MARK: --check-tls

extension MessageDefinition {
  public static let tlsNotEnabled = MessageDefinition(
    "VB-CERT-068", .warning, "listen_tls is 0: the broker does not serve TLS; set it to 1",
    "The broker still checks the certificates.")
  static let filesConsistent = MessageDefinition(
    "VB-CERT-069", .info, "keys, certificate chains and revocation lists are consistent")
  static let priorityInEffect = MessageDefinition(
    "VB-CERT-070", .info, "priority string: …")
  static let fileWritableByOthers = MessageDefinition(
    "VB-CERT-071", .warning, "…: other users can write to it: chmod go-w …",
    "A user who can replace the key can impersonate this host.")
  static let fileOwnedByOther = MessageDefinition(
    "VB-CERT-072", .warning, "…: owned by user …: chown it to root",
    "A user who can replace the key can impersonate this host.")
  static let validForThisHost = MessageDefinition(
    "VB-CERT-073", .info, "…: valid for this host, '…'")
  static let notForThisHost = MessageDefinition(
    "VB-CERT-074", .warning,
    "…: not valid for '…', the name of this host: clients that connect to that name refuse it; --connect HOST checks the name they use",
    "If clients use another name, nothing is wrong. Otherwise run `virtbroker-pki server NAME... --renew` with all names."
  )
  static let verificationDisabled = MessageDefinition(
    "VB-CERT-075", .warning,
    "tls_no_verify_certificate is set: every client that reaches the port is accepted",
    "Set it to 0, except for tests.")
  static let allNamesAllowed = MessageDefinition(
    "VB-CERT-076", .info,
    "tls_allowed_dn_list is not set: every client with a certificate of the authority is accepted")
  static let allowedNameWithSpace = MessageDefinition(
    "VB-CERT-077", .warning,
    "tls_allowed_dn_list: '…' has a space after a comma; names are compared without: O=Acme,CN=client",
    "Remove the space.")
  static let namesAllowed = MessageDefinition(
    "VB-CERT-078", .info, "tls_allowed_dn_list has …")
  static let noRevocationListConfigured = MessageDefinition(
    "VB-CERT-079", .info, "no revocation list is used")
  static let servesTLS = MessageDefinition(
    "VB-CERT-080", .info, "… port … serves …")
  static let hostNotReachable = MessageDefinition(
    "VB-CERT-081", .error, "cannot connect to …: …",
    "The broker is not running, listens elsewhere, or a firewall is between.")
  static let noAddressOfHost = MessageDefinition("VB-CERT-082", .error, "no address found")
  static let validForHost = MessageDefinition(
    "VB-CERT-083", .info, "valid for '…'")
  static let allChecksPassed = MessageDefinition(
    "VB-CERT-084", .info, "passes every check")
  static let leadsToAuthority = MessageDefinition(
    "VB-CERT-085", .info, "leads to an authority in …")
  static let leadsToNoAuthority = MessageDefinition(
    "VB-CERT-086", .error, "does not lead to an authority in …: …",
    "Another authority signed the certificate, or the server does not send an intermediate certificate."
  )
  static let isConfiguredCertificate = MessageDefinition(
    "VB-CERT-087", .info, "same as in …")
  static let isNotConfiguredCertificate = MessageDefinition(
    "VB-CERT-088", .warning,
    "in none of the configured files: another daemon listens there, or it has not loaded the files; see its log"
  )
  public static let checkPassed = MessageDefinition(
    "VB-CERT-089", .info, "TLS can be served, …")
  public static let checkFailed = MessageDefinition(
    "VB-CERT-090", .error, "TLS check failed: …, …")
}
