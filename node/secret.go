package node

import (
	"crypto/hmac"
	"crypto/sha256"
	"slices"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// secretTag is what a member tells others of the secret that signs its cookies.
func secretTag(secret []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("holdfast: tag of a cookie secret"))
	return string(mac.Sum(nil)[:member.SecretTagSize])
}

// ownSecretTag is this member's, or empty where no user gets a cookie from it:
// a node without an application is asked by routers only. Its random secret
// differs from theirs, and that does not matter.
func (n *Node) ownSecretTag() string {
	if n.cfg.Role == RoleNode && n.cfg.Secret == nil && n.cfg.App == "" && !n.cfg.Demo && n.cfg.Handler == nil {
		return ""
	}
	return secretTag(n.secret)
}

// compareSecrets warns of members whose cookies this one does not believe. The
// membership loop calls it for each view.
func (n *Node) compareSecrets(view *View) {
	if n.ownSecretTag() == "" {
		return
	}
	for id := range n.foreign {
		if view.Member(id) == nil {
			delete(n.foreign, id)
		}
	}
	for _, m := range view.Members {
		_, warned := n.foreign[m.ID]
		if !m.Up || warned || m.Secret == "" || n.believes(m.Secret) {
			continue
		}
		n.foreign[m.ID] = struct{}{}
		n.log.Warn("-secret-file differs from that of " + m.Name + ": users who change between them get new ids")
	}
}

// believes says whether this member verifies cookies by the secret of a tag. A
// member that is about to change to a newer one signs by an older one still.
func (n *Node) believes(tag string) bool {
	return tag == secretTag(n.secret) || slices.ContainsFunc(n.cfg.OldSecrets, func(old []byte) bool { return tag == secretTag(old) })
}
