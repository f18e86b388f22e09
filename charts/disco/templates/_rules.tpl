{{- /*
What the operator may do, and why. Three sets of rules, because they are bound in different places:

  watch   where it watches, and in its own namespace: see jobs and what became of them, and tell.
          Changes nothing but a status.
  act     where it may run jobs: make and remove their children.
  home    its own namespace: leadership and its key.

There is no wildcard, and no right to read Secrets but the operator's own key: tokens and certificates
of a job are derived from that key and the job's uid. Children name their job as owner without
blockOwnerDeletion, so no right to finalizers is needed either where OwnerReferencesPermissionEnforcement
is on; that check also asks for `delete` on an object whose owners an apply changes, which `act` has
for everything that is applied. Persistent volume claims are removed by the StatefulSet's
persistentVolumeClaimRetentionPolicy.
*/ -}}

{{- define "disco.rules.watch" -}}
# The jobs themselves. get: what became of one whose status could not be written.
- apiGroups: [discoproject.org]
  resources: [discojobs]
  verbs: [get, list, watch]
# Phase, conditions and counters: one merge patch per reconciliation.
- apiGroups: [discoproject.org]
  resources: [discojobs/status]
  verbs: [patch]
# Why a pod does not start, was killed or is gone: image, memory, eviction, lost node.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# What a job has already, and how many of its pods are ready.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [list, watch]
# What `kubectl describe discojob` shows.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# Its own Lease, by the same watch as everything else: the leader changes it every two seconds, so a
# watch that does not deliver that is broken. It exists in the operator's namespace only.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "disco.operator" . }}]
  verbs: [list, watch]
{{- end -}}

{{- /* Nodes have no namespace, so these rules exist only where the operator watches the whole cluster. */ -}}
{{- define "disco.rules.watchCluster" -}}
# Whether the node of a silent pod is lost, so that its pod is replaced at once.
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end -}}

{{- define "disco.rules.act" -}}
# spec.ttlSecondsAfterFinished; garbage collection then removes what belongs to the job.
- apiGroups: [discoproject.org]
  resources: [discojobs]
  verbs: [delete]
# Coordinator and workers (Deployments), partition services (StatefulSet). patch: server-side apply,
# which needs `create` for what does not exist. delete: a stage's workers leave when it ends.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [create, patch, delete]
# Force the deletion of a partition service's pod on a lost node: a StatefulSet waits for ever.
- apiGroups: [""]
  resources: [pods]
  verbs: [delete]
# How a job's pods find each other; made once, gone when the job has ended, as are the next three.
# get: whether one that is there already belongs to an earlier job of the name.
- apiGroups: [""]
  resources: [services]
  verbs: [get, create, delete]
# Who may talk to a job's pods.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, create, delete]
# The job as its pods read it (create, delete), made once from the user's spec.code.configMap (get).
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, delete]
# The job's token and certificates. Never read back.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, delete]
{{- end -}}

{{- define "disco.rules.home" -}}
# RBAC cannot restrict `create` to a name: there is none yet when it is checked.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
# Who leads.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "disco.operator" . }}]
  verbs: [get, update]
# The key from which every job's token and certificates are derived. The operator makes it on its
# first start; it is no part of the release, so no upgrade replaces it.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [disco-operator-key]
  verbs: [get]
{{- end -}}

{{- /*
What the gateway may do, and why. It changes DiscoJobs with the rights of its callers, by their own
tokens, and has none of its own to do that. Four sets of rules:

  review  everywhere: who is asking, and what he may. Both kinds have no namespace, so this is bound
          for the whole cluster even where everything else is confined to namespaces; it changes
          nothing.
  read    where it serves: what becomes of jobs, for those who may know.
  code    where jobs may run: what callers submit.
  door    its own namespace: uploads that wait, its certificate, the key.
*/ -}}

{{- define "disco.rules.review" -}}
# Whose token a call carries.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
# Whether its owner may do with DiscoJobs what he asks for.
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end -}}

{{- define "disco.rules.read" -}}
# The jobs, for callers of whom the API server says that they may.
- apiGroups: [discoproject.org]
  resources: [discojobs]
  verbs: [get, list, watch]
# What a job printed that has ended. RBAC cannot say "of this label".
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
{{- end -}}

{{- define "disco.rules.code" -}}
# The code of a job that a caller has been allowed to make. Never read back, changed or deleted:
# it goes with its job.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
{{- end -}}

{{- define "disco.rules.door" -}}
# Code that was uploaded and waits for its submission, for an hour; the authority's certificate
# (create and patch: server-side apply).
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, patch, delete]
# The key from which the gateway's certificate, and what it shows to coordinators and partition
# services, are derived. Whoever needs it first makes it.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [disco-operator-key]
  verbs: [get]
{{- end -}}

{{- /* A role with `rules` (text) and `name`, bound to the operator in `namespace`; "": everywhere.
       `app` and `account`: of somebody else. */ -}}
{{- define "disco.grant" -}}
{{- $kind := not .namespace | ternary "ClusterRole" "Role" -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  {{- include "disco.metadata" . | nindent 2 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  {{- include "disco.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .account | default (include "disco.serviceAccount" .root) }}
    namespace: {{ .root.Release.Namespace }}
{{ end -}}
