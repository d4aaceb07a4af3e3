package node

import (
	"github.com/seed-95a32959/holdfast/internal/metric"
)

// countMember adds what no part of a member counts alone.
func (n *Node) countMember(put metric.Put) {
	put("events_missed", "Events that a slow reader of the event log did not get.", n.events.Missed())
	put("http_heads_cut_off", "Connections cut off because the heads of requests took all the room that there is, theirs the most.", n.heads.Refused()+n.heads.Evicted())

	apiHosts, apiSites := n.apiGuard.Refused()
	adminHosts, adminSites := n.operator.Refused()
	put("refused_hosts", "HTTP requests refused at the session API and the operator's endpoint because their Host is not one of the names of -http-host or -admin-host.", apiHosts+adminHosts)
	put("refused_sites", "HTTP requests refused there because the page of another site has sent them.", apiSites+adminSites)
}
