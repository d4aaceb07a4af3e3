package router

import "strings"

// longestTold is one byte more than the longest name that is looked at.
const longestTold = 48

// toldBy is the role of a field that is none of Holdfast's and none that HTTP
// needs, by its name in lower case with dashes. Applications take some of these
// for the word of the proxy before them: who the user is, and from where. A
// visitor can write them as well as a proxy can, so a visitor's are not passed
// on. A trusted proxy's are passed on if they say how the request came. One
// that names a user is passed on only if it was configured: a proxy that does
// not know the field hands on what the visitor has written.
func toldBy(low []byte) role {
	switch string(low) {
	case "x-real-ip", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-server", "x-forwarded-ssl", "x-forwarded-scheme":
		return trusted
	}
	if len(low) == 0 {
		return passed
	}
	for _, t := range told[low[0]] {
		if string(low) == t.name || t.more && len(low) > len(t.name) && string(low[:len(t.name)]) == t.name {
			return vouched
		}
	}
	return passed
}

type toldField struct {
	name string
	more bool // the name is the beginning of any
}

// told are the fields by which proxies name users and addresses, by their first
// letter. In the list a star stands for any rest.
var told = func() (byLetter [256][]toldField) {
	for _, name := range []string{
		// Users, as CGI, web servers and the proxies that log people in name
		// them.
		"remote-*", "x-remote-*", "x-forwarded-*", "x-auth-request-*", "x-auth-user", "x-auth-username", "x-auth-email", "x-auth-groups",
		"x-user", "x-user-id", "x-userid", "x-username", "x-user-name", "x-user-email",
		"x-authenticated-*", "x-webauth-*", "x-proxy-user", "x-original-user", "x-real-user", "x-consumer-*", "x-credential-*",
		"x-amzn-oidc-*", "x-goog-authenticated-user-*", "x-goog-iap-*", "x-ms-client-principal*", "x-ms-token-*",
		"cf-access-*", "x-authentik-*", "x-pomerium-*", "x-vouch-*", "tailscale-user-*", "impersonate-*", "oidc-claim-*", "x-oidc-*", "x-jwt-claim-*",
		// Certificates, which name users too.
		"client-cert*", "x-client-cert*", "x-client-dn", "x-client-verify", "x-ssl-*", "ssl-client-*",
		// Addresses.
		"true-client-ip", "x-client-ip", "x-cluster-client-ip", "x-original-forwarded-for", "x-originating-ip", "x-remote-*", "x-proxyuser-ip",
		"client-ip", "cf-connecting-*", "cf-pseudo-ipv4", "fastly-client-ip", "fly-client-ip", "x-azure-clientip", "x-azure-socketip",
		"x-envoy-external-address", "x-appengine-user-ip", "x-appengine-remote-addr", "x-nf-client-connection-ip", "wl-proxy-client-ip", "proxy-client-ip",
	} {
		name, more := strings.CutSuffix(name, "*")
		byLetter[name[0]] = append(byLetter[name[0]], toldField{name, more})
	}
	return byLetter
}()
