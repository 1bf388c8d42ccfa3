#include <gnutls/gnutls.h>
#include <gnutls/socket.h>
#include <gnutls/x509.h>
