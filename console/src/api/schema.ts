// Made from openapi.json by `make openapi`; a change here is lost.
// SHA-256 of openapi.json: d7f0ec8cf274a69b12ede4c6ef242d6bd8b46fd4c92a2a3c3a4c41d34ba00922

export interface components {
    schemas: {
        /**
         * AccessDetail
         * @description A request with its signed envelopes (base64url; empty where there is none).
         *
         *         `people` are those whose keys signed the grant, by the stored policy. `recording_done` says
         *         that the whole recording is here. Steps of kind `notice` say who was told of the request. Who
         *         was let in by what was allowed ahead has an `entry` in the place of the grant, and
         *         `standing_document` is what the owner's people signed.
         */
        AccessDetail: {
            /** @example 2026-11-23T14:02:05.123Z */
            asked_at: string;
            break_glass: boolean;
            bytes_in: number;
            bytes_out: number;
            case: string;
            changes: components["schemas"]["SessionChanges"] | null;
            denial: string;
            denied_words: string;
            device_id: string;
            device_key: components["schemas"]["DeviceKey"];
            device_name: string;
            ended_at: string | null;
            ended_by: string;
            ended_who: string;
            entry: string;
            grant: string;
            granted_at: string | null;
            id: string;
            next_notice: components["schemas"]["NextNotice"] | null;
            not_compared: string;
            offer: string;
            offered_at: string | null;
            opened_at: string | null;
            org: string;
            people: string[];
            person: string;
            reason: string;
            receipt: string;
            recording_bytes: number;
            recording_done: boolean;
            request: string;
            requester: string;
            runbooks: components["schemas"]["AccessRunbook"][];
            sandbox: string;
            scopes: string[];
            seconds: number;
            session: string;
            site: string;
            standing: string;
            standing_document: string;
            /** @enum {unknown} */
            state: "asked" | "denied" | "ended" | "granted" | "offered" | "open" | "stopped";
            steps: components["schemas"]["AccessStep"][];
            wall: string;
            watched: boolean;
            words: string;
        };
        /**
         * AccessPage
         * @description A page of requests, newest first.
         */
        AccessPage: {
            items: components["schemas"]["AccessRow"][];
            page: number;
            per_page: number;
            total: number;
        };
        /**
         * AccessRow
         * @description A request and what became of it.
         *
         *         `id` is the hash of the request, `requester` a key id, `session` the hash of the grant (or of
         *         the entry by what was allowed ahead, whose hash is `standing` then), `words` its six words.
         *         `break_glass`: the usual approvers were away. Person, org and scopes are shown as the request
         *         and the stored policy have them: the machine and the owner's tools verify, this server does not.
         */
        AccessRow: {
            /** @example 2026-11-23T14:02:05.123Z */
            asked_at: string;
            break_glass: boolean;
            case: string;
            device_id: string;
            device_name: string;
            ended_at: string | null;
            ended_by: string;
            granted_at: string | null;
            id: string;
            offered_at: string | null;
            opened_at: string | null;
            org: string;
            person: string;
            reason: string;
            recording_bytes: number;
            requester: string;
            scopes: string[];
            seconds: number;
            session: string;
            site: string;
            standing: string;
            /** @enum {unknown} */
            state: "asked" | "denied" | "ended" | "granted" | "offered" | "open" | "stopped";
            words: string;
        };
        /**
         * AccessRunbook
         * @description A runbook that came with a request. Its name and version are its own words.
         */
        AccessRunbook: {
            digest: string;
            envelope: string;
            name: string;
            version: number;
        };
        /**
         * AccessStep
         * @description One thing that happened to a request, in words. `who` is a person, or empty.
         */
        AccessStep: {
            /** @example 2026-11-23T14:02:05.123Z */
            at: string;
            kind: string;
            who: string;
            words: string;
        };
        /**
         * ApprovalList
         * @description All approvals and withdrawals, newest first.
         */
        ApprovalList: {
            items: components["schemas"]["ApprovalRow"][];
        };
        /**
         * ApprovalRow
         * @description An approval as it was handed in. People are shown as the stored policy has them: machines and
         *         the owner's tools verify.
         */
        ApprovalRow: {
            envelope: string;
            id: string;
            /** @example 2026-11-23T14:02:05.123Z */
            issued_at: string;
            /** @enum {unknown} */
            kind: "approval" | "standing" | "withdrawal";
            machines: string;
            not_after: string | null;
            not_before: string | null;
            people: string;
            product: string;
            reason: string;
            release: string;
            /** @enum {unknown} */
            state: "holds" | "later" | "old_epoch" | "over" | "withdrawn" | "withdraws";
            version: string;
            wait_seconds: number;
            windows: number;
            withdraws: string;
        };
        /**
         * Asking
         * @description A signed request, and the signed runbooks that its scopes name; all base64url.
         */
        Asking: {
            envelope: string;
            /** @default [] */
            runbooks: string[];
        };
        /**
         * Because
         * @description Why somebody stops a rollout, or lets it go on.
         */
        Because: {
            /** @default  */
            reason: string;
        };
        /**
         * BehindRow
         * @description A machine that lacks an approved release.
         */
        BehindRow: {
            days: number;
            device_id: string;
            name: string;
            site: string;
            version: string;
        };
        /**
         * BlobState
         * @description How many bytes of a blob are here, and whether that is all of it. Go on at `size`.
         */
        BlobState: {
            complete: boolean;
            size: number;
        };
        /**
         * Card
         * @description One thing that needs a person: what, where, why it matters, since when, what to do.
         */
        Card: {
            id: string;
            kind: string;
            /** @example 2026-11-23T14:02:05.123Z */
            since: string;
            title: string;
            verb: components["schemas"]["Verb"];
            where: string;
            why: string;
        };
        /**
         * CeremonyShown
         * @description Options for navigator.credentials, in WebAuthn's JSON form.
         */
        CeremonyShown: {
            challenge_id: string;
            options: Record<string, unknown>;
        };
        /**
         * Certificate
         * @description The certificate that the machine connects with.
         */
        Certificate: {
            lineage: number;
            not_after: string | null;
            serial: string;
        };
        /**
         * ChangeItem
         * @description One change of the last day, in words.
         */
        ChangeItem: {
            /** @example 2026-11-23T14:02:05.123Z */
            at: string;
            device_id: string;
            device_name: string;
            kind: string;
            /**
             * @default normal
             * @enum {unknown}
             */
            severity: "critical" | "normal";
            words: string;
        };
        /**
         * ChangeView
         * @description One thing that was added, removed or changed.
         */
        ChangeView: {
            after: string;
            before: string;
            change: string;
            kind: string;
            name: string;
        };
        /**
         * Check
         * @description One thing that was looked at.
         */
        Check: {
            id: string;
            next: string | null;
            /** @enum {unknown} */
            state: "bad" | "ok" | "warn";
            words: string;
        };
        /**
         * CheckpointView
         * @description The newest checkpoint of the record.
         */
        CheckpointView: {
            as_of: string;
            generation: number;
            note: string;
            size: number;
        };
        /**
         * ClosingDetail
         * @description A closing with its signed documents and a page of its machines.
         */
        ClosingDetail: {
            closing: components["schemas"]["ClosingRow"];
            envelope: string;
            kept: string;
            machines: components["schemas"]["ClosingPart"][];
            page: number;
            per_page: number;
            total: number;
        };
        /**
         * ClosingPage
         * @description A page of closings, newest first.
         */
        ClosingPage: {
            items: components["schemas"]["ClosingRow"][];
            page: number;
            per_page: number;
            total: number;
        };
        /**
         * ClosingPart
         * @description Where a closing stands at one machine. `report` is what the machine signed: verify it.
         */
        ClosingPart: {
            /** @example 2026-11-23T14:02:05.123Z */
            at: string;
            device_id: string;
            name: string;
            report: string;
            rule: string;
            seconds_left: number;
            site: string;
            /** @enum {unknown} */
            state: "applied" | "handed" | "kept" | "refused" | "restored" | "undone";
            words: string;
        };
        /**
         * ClosingRow
         * @description A closing, and at how many machines it stands how.
         *
         *         People are shown as the stored policy has them: machines and the owner's tools verify.
         */
        ClosingRow: {
            counts: {
                [key: string]: number;
            };
            for_all: boolean;
            id: string;
            /** @example 2026-11-23T14:02:05.123Z */
            issued_at: string;
            kept_at: string | null;
            opens_all: boolean;
            people: string[];
            reason: string;
            restore_seconds: number;
            serial: number;
            words: string;
        };
        /**
         * ConnectedPeer
         * @description Somebody who was connected to a port of a machine.
         */
        ConnectedPeer: {
            address: string;
            port: number;
            process: string | null;
        };
        /**
         * Connection
         * @description All that a requester needs to come to the bus for one session.
         *
         *         `certificate` and `server_ca` are PEM; `bus` are addresses as `host:port`.
         */
        Connection: {
            bus: string[];
            certificate: string;
            device_id: string;
            /** @example 2026-11-23T14:02:05.123Z */
            expires_at: string;
            server_ca: string;
            server_ca_sha256: string;
            session: string;
        };
        /**
         * ConnectionWish
         * @description A P-256 transport key (SPKI, base64url), and the requester's signed word for it.
         *
         *         `proof` is an envelope of the type `fleetward.connection.v1` (base64url), signed by the key that
         *         the request names as its requester.
         */
        ConnectionWish: {
            proof: string;
            public_key: string;
        };
        /**
         * CosignatureView
         * @description The newest checkpoint that a witness signed.
         */
        CosignatureView: {
            at: string;
            size: number;
            witness: string;
        };
        /**
         * Cosigned
         * @description A checkpoint with a witness's cosignature.
         */
        Cosigned: {
            note: string;
            witness: string;
        };
        /**
         * Counts
         * @description How many machines are how. Each machine counts once.
         */
        Counts: {
            fine: number;
            need_you: number;
            silent: number;
            total: number;
            waiting: number;
        };
        /**
         * Device
         * @description Everything about one machine. The posture groups are those of the posture capability.
         */
        Device: {
            agent: string;
            certificate: components["schemas"]["Certificate"];
            confirmed: boolean;
            /** @enum {unknown} */
            connection: "connected" | "never" | "silent";
            do_now: components["schemas"]["Card"][];
            id: string;
            identity: components["schemas"]["Identity"];
            /** @example 2026-11-23T14:02:05.123Z */
            joined_at: string;
            last_seen_at: string | null;
            maker: string;
            model: string;
            name: string;
            /** @enum {unknown} */
            need: "" | "exposed" | "quarantined" | "silent" | "unconfirmed" | "updates" | "waiting";
            open_ports: number | null;
            owner: string;
            proof: components["schemas"]["Proof"];
            properties: components["schemas"]["PropertyView"][];
            reachability: components["schemas"]["Reachability"];
            reason: string;
            security_updates: number | null;
            sight: components["schemas"]["Sight"];
            simulated: boolean;
            site: string;
            software: components["schemas"]["Software"];
            /** @enum {unknown} */
            state: "active" | "pending" | "quarantined" | "refused" | "retired" | "seen";
            system: string;
            trust: components["schemas"]["Trust"];
            updates_pending: number | null;
            wall: string;
            words: string;
        };
        /**
         * DeviceKey
         * @description The machine's identity key as this server knows it. Take it from the roster instead.
         */
        DeviceKey: {
            key_id: string;
            public: string;
            suite: string;
        };
        /**
         * DevicePage
         * @description A page of machines.
         */
        DevicePage: {
            items: components["schemas"]["DeviceRow"][];
            page: number;
            per_page: number;
            total: number;
        };
        /**
         * DeviceRow
         * @description A machine in the list.
         */
        DeviceRow: {
            confirmed: boolean;
            /** @enum {unknown} */
            connection: "connected" | "never" | "silent";
            id: string;
            last_seen_at: string | null;
            maker: string;
            model: string;
            name: string;
            /** @enum {unknown} */
            need: "" | "exposed" | "quarantined" | "silent" | "unconfirmed" | "updates" | "waiting";
            open_ports: number | null;
            owner: string;
            security_updates: number | null;
            simulated: boolean;
            site: string;
            /** @enum {unknown} */
            state: "active" | "pending" | "quarantined" | "refused" | "retired" | "seen";
            updates_pending: number | null;
        };
        /**
         * DeviceState
         * @description The state of a machine after an action.
         */
        DeviceState: {
            id: string;
            state: string;
        };
        /**
         * DeviceUpdates
         * @description A machine's products, what it was told of last, and a page of its reports, newest first.
         */
        DeviceUpdates: {
            counters: ("doubted" | "file" | "tpm") | null;
            device_id: string;
            items: components["schemas"]["ReportRow"][];
            name: string;
            page: number;
            per_page: number;
            products: components["schemas"]["ProductOnDevice"][];
            site: string;
            told: string[];
            told_at: string | null;
            total: number;
        };
        /**
         * DirectorRoot
         * @description The director's root, base64url, and its SHA-256, which the owner's policy names.
         */
        DirectorRoot: {
            named: boolean;
            root: string;
            sha256: string;
        };
        /**
         * Doctor
         * @description Everything that was looked at.
         */
        Doctor: {
            checks: components["schemas"]["Check"][];
        };
        /**
         * DocumentsStored
         * @description What the server now holds.
         */
        DocumentsStored: {
            head_version: number;
            lease_serial: number;
            owner_root: string;
            policy_version: number;
            roster_version: number;
        };
        /**
         * DrillStep
         * @description One attack and what came of it.
         */
        DrillStep: {
            answer: string;
            at: string | null;
            attack: string;
            id: string;
            /** @enum {unknown} */
            outcome: "accepted" | "refused" | "skipped" | "unanswered" | "waiting";
            reason: string;
            words: string;
        };
        /**
         * DrillView
         * @description A drill as it stands.
         */
        DrillView: {
            device_id: string;
            id: string;
            /** @example 2026-11-23T14:02:05.123Z */
            started_at: string;
            /** @enum {unknown} */
            state: "failed" | "passed" | "running" | "unanswered";
            steps: components["schemas"]["DrillStep"][];
        };
        /**
         * DrillWish
         * @description Which drill, against which machine.
         */
        DrillWish: {
            device_id: string;
            /** @enum {unknown} */
            kind: "stolen-server";
        };
        /**
         * EventPage
         * @description A page of events, newest arrival first.
         */
        EventPage: {
            items: components["schemas"]["EventRow"][];
            page: number;
            per_page: number;
            total: number;
        };
        /**
         * EventRow
         * @description One journal entry of a machine, as it arrived. `at` is the machine's own clock.
         */
        EventRow: {
            at: string;
            body: Record<string, unknown>;
            device_id: string;
            kind: string;
            received_at: string;
            sequence: number;
            words: string;
        };
        /**
         * EvidenceView
         * @description One piece of evidence. `holds` is null when it could not be seen.
         */
        EvidenceView: {
            /** @example 2026-11-23T14:02:05.123Z */
            as_of: string;
            holds: boolean | null;
            words: string;
        };
        /**
         * FactList
         * @description A page of facts.
         */
        FactList: {
            as_of: string | null;
            items: components["schemas"]["FactRow"][];
            page: number;
            per_page: number;
            sight: components["schemas"]["SightView"];
            total: number;
        };
        /**
         * FactRow
         * @description One fact; `value` is null when it was not visible.
         */
        FactRow: {
            group: string;
            key: string;
            value: string | null;
            words: string;
        };
        /**
         * FailureCause
         * @description Machines on which it failed by the same rule and check, as they signed.
         */
        FailureCause: {
            cause: string;
            count: number;
            devices: string[];
            words: string;
        };
        /**
         * FindingRow
         * @description A health check, and how it ended.
         */
        FindingRow: {
            check: string;
            good: boolean;
            words: string;
        };
        /**
         * FindingView
         * @description A change that somebody should look at. `attack` are techniques of MITRE ATT&CK.
         */
        FindingView: {
            attack: string[];
            evidence: string;
            rule: string;
            severity: string;
            words: string;
        };
        /**
         * FinishedCeremony
         * @description What the browser's authenticator answered: a PublicKeyCredential as JSON.
         */
        FinishedCeremony: {
            challenge_id: string;
            credential: Record<string, unknown>;
        };
        /**
         * FreshDay
         * @description One day of the history.
         */
        FreshDay: {
            /** @example 2026-11-23T14:02:05.123Z */
            day: string;
            fresh: number;
            machines: number;
        };
        /**
         * Identity
         * @description The identity key.
         */
        Identity: {
            key_id: string;
            lineage: number;
            suite: string;
        };
        /**
         * LayersView
         * @description Layers around a service; null is not visible.
         */
        LayersView: {
            capabilities_dropped: boolean | null;
            label: string | null;
            namespaces: string[] | null;
            no_new_privileges: boolean | null;
            own_user: boolean | null;
            seccomp: boolean | null;
        };
        /**
         * LinkCode
         * @description The code of a sign-in link.
         */
        LinkCode: {
            code: string;
        };
        /**
         * LinkMade
         * @description A sign-in link, which is shown this once.
         */
        LinkMade: {
            /** @example 2026-11-23T14:02:05.123Z */
            expires_at: string;
            url: string;
        };
        /**
         * LinkWish
         * @description For whom to make a sign-in link; for oneself where it is left out.
         */
        LinkWish: {
            /** @default null */
            person_id: string | null;
        };
        /**
         * MachineClosing
         * @description A machine: its tiers, what waits there, who is connected, and what is closed.
         */
        MachineClosing: {
            closed: string;
            connected: boolean;
            device_id: string;
            last_cut: string[];
            looked_at: string | null;
            name: string;
            peers: components["schemas"]["ConnectedPeer"][];
            peers_at: string | null;
            peers_more: number;
            ports: components["schemas"]["OpenPort"][];
            report: string;
            reported_at: string | null;
            seconds_left: number;
            simulated: boolean;
            site: string;
            tiers: components["schemas"]["TierRow"][];
        };
        /**
         * MachineClosings
         * @description A page of machines.
         */
        MachineClosings: {
            items: components["schemas"]["MachineClosing"][];
            page: number;
            per_page: number;
            total: number;
        };
        /**
         * MachineSelector
         * @description Which machines: devices, or words that their roster entries fulfil. Nothing named: all.
         */
        MachineSelector: {
            /** @default [] */
            devices: string[];
            /** @default [] */
            groups: string[];
            /** @default [] */
            models: string[];
            /** @default [] */
            sites: string[];
        };
        /**
         * NamedFile
         * @description A file of a maker's repository, as `3.kiosk.json`; its bytes in base64url.
         */
        NamedFile: {
            data: string;
            name: string;
        };
        /**
         * NewMetadata
         * @description Files of one repository, `1.root.json` among them.
         */
        NewMetadata: {
            files: components["schemas"]["NamedFile"][];
        };
        /**
         * NewRecall
         * @description A recall: which versions of which product, why, and what is to be done until when.
         */
        NewRecall: {
            /** @default [] */
            advisories: string[];
            /** @default  */
            fix_version: string;
            /** @default null */
            machines: components["schemas"]["MachineSelector"] | null;
            /** @default  */
            product: string;
            /** @enum {unknown} */
            remedy: "disable" | "patch" | "stop";
            title: string;
            /** @default null */
            until: string | null;
            /** @default [] */
            versions: string[];
            why: string;
        };
        /**
         * NewRelease
         * @description A release's manifest in base64url, and the path of its target.
         */
        NewRelease: {
            manifest: string;
            path: string;
            repository: string;
        };
        /**
         * NewRollout
         * @description A rollout: a release to machines, in waves as `1%`, `200`, `100%`, each with those before.
         */
        NewRollout: {
            /** @default 0 */
            allowed_failures: number;
            /** @default 0 */
            bandwidth: number;
            /** @default null */
            canaries: components["schemas"]["MachineSelector"] | null;
            product: string;
            selector: components["schemas"]["MachineSelector"];
            /** @default 3600 */
            soak_seconds: number;
            version: string;
            waves: string[];
        };
        /**
         * NextNotice
         * @description Who is told next, and when, while nobody answers.
         */
        NextNotice: {
            /** @example 2026-11-23T14:02:05.123Z */
            at: string;
            names: string[];
        };
        /**
         * NextStep
         * @description What is to be done next, and by whom. This server does none of it by itself.
         */
        NextStep: {
            command: string;
            href: string;
            /** @enum {unknown} */
            who: "maker" | "operator" | "owner" | "technician";
            words: string;
        };
        /**
         * NoticeRow
         * @description Somebody who was told, or could not be.
         */
        NoticeRow: {
            /** @example 2026-11-23T14:02:05.123Z */
            at: string;
            channel: string;
            good: boolean;
            name: string;
        };
        /**
         * OpenPort
         * @description A port that waits for others, as the newest inventory has it, and whether it is closed.
         */
        OpenPort: {
            closed: boolean;
            /** @enum {unknown} */
            exposure: "all" | "lan" | "loopback";
            port: number;
            process: string | null;
            protocol: string;
        };
        /**
         * OpeningRequest
         * @description What an opening must name; `needed` when this server was restored and waits for it.
         */
        OpeningRequest: {
            generation: number;
            needed: boolean;
            root: string;
            size: number;
        };
        /**
         * OpeningSigned
         * @description The owner's signed opening of a new generation, base64url.
         */
        OpeningSigned: {
            opening: string;
        };
        /**
         * OwnerDocuments
         * @description Owner documents to store, each signed off this server; base64url but for the PEM chain.
         *
         *         `policies` may repeat those that are stored. `roster` comes with all of its `entries`.
         */
        OwnerDocuments: {
            entries: string[];
            head: string;
            /** @default  */
            issuing_chain: string;
            lease: string;
            policies: string[];
            root: string;
            roster: string;
        };
        /**
         * PackageList
         * @description A page of packages.
         */
        PackageList: {
            as_of: string | null;
            items: components["schemas"]["PackageRow"][];
            page: number;
            per_page: number;
            sight: components["schemas"]["SightView"];
            total: number;
        };
        /**
         * PackageRow
         * @description An installed package and, where one waits, its update.
         */
        PackageRow: {
            arch: string;
            manager: string;
            name: string;
            /** @default false */
            security: boolean;
            source: string;
            /** @default null */
            update: string | null;
            version: string;
        };
        /**
         * Page[PersonRow]
         * @description One page of a list, and how many there are in all.
         */
        Page_PersonRow_: {
            items: components["schemas"]["PersonRow"][];
            page: number;
            per_page: number;
            total: number;
        };
        /**
         * Page[TokenRow]
         * @description One page of a list, and how many there are in all.
         */
        Page_TokenRow_: {
            items: components["schemas"]["TokenRow"][];
            page: number;
            per_page: number;
            total: number;
        };
        /**
         * PasskeyRegistered
         * @description The passkey that was kept.
         */
        PasskeyRegistered: {
            /** @example 2026-11-23T14:02:05.123Z */
            created_at: string;
            id: string;
        };
        /**
         * PasskeyState
         * @description Whether the person has a passkey, and whether this address demands one.
         */
        PasskeyState: {
            registered: boolean;
            required: boolean;
        };
        /**
         * PendingDevice
         * @description A machine that the owner has not confirmed. Compute the words yourself from `public`.
         */
        PendingDevice: {
            id: string;
            invitation: string;
            joined_at: string;
            maker: string;
            model: string;
            name_suggested: string;
            preapproved: boolean;
            public: string;
            simulated: boolean;
            site: string;
            suite: string;
            words: string;
        };
        /**
         * PendingDevices
         * @description Machines that wait for the owner.
         */
        PendingDevices: {
            items: components["schemas"]["PendingDevice"][];
        };
        /**
         * PersonRow
         * @description Somebody who may sign in.
         */
        PersonRow: {
            /** @example 2026-11-23T14:02:05.123Z */
            created_at: string;
            id: string;
            last_seen_at: string | null;
            name: string;
            /** @enum {unknown} */
            role: "admin" | "operator" | "viewer";
        };
        /**
         * PersonShort
         * @description Who is signed in.
         */
        PersonShort: {
            id: string;
            name: string;
            /** @enum {unknown} */
            role: "admin" | "operator" | "viewer";
        };
        /**
         * PersonWish
         * @description Somebody to add.
         */
        PersonWish: {
            name: string;
            /** @enum {unknown} */
            role: "admin" | "operator" | "viewer";
        };
        /**
         * Problem
         * @description Problem details. `reason` never changes its meaning; the other words may.
         */
        Problem: {
            /** @default null */
            came: string | null;
            detail: string;
            /** @default null */
            expected: string | null;
            /** @default null */
            instance: string | null;
            /** @default null */
            next: string | null;
            reason: string;
            status: number;
            title: string;
            type: string;
        };
        /**
         * ProductFailure
         * @description Machines whose newest attempt failed by one cause.
         */
        ProductFailure: {
            cause: string;
            count: number;
            devices: string[];
            product: string;
            version: string;
        };
        /**
         * ProductOnDevice
         * @description How a product stands on a machine, by the newest report that the machine signed.
         */
        ProductOnDevice: {
            attempt: number;
            cause: string;
            counter: number;
            days_behind: number | null;
            floor: number;
            newest: string;
            /** @enum {unknown} */
            outcome: "" | "accepted" | "committed" | "failed" | "installed" | "refused" | "rolled_back";
            product: string;
            said_at: string | null;
            since: string | null;
            target: string;
            version: string;
            words: string;
        };
        /**
         * ProductOverview
         * @description How fresh a product is over the fleet, by reports that machines signed.
         */
        ProductOverview: {
            behind: components["schemas"]["BehindRow"][];
            current: number;
            fresh: number;
            goal_days: number;
            history: components["schemas"]["FreshDay"][];
            machines: number;
            newest: string;
            product: string;
            silent: number;
            versions: {
                [key: string]: number;
            };
        };
        /**
         * ProgramList
         * @description A page of running programs.
         */
        ProgramList: {
            as_of: string | null;
            items: components["schemas"]["ProgramRow"][];
            page: number;
            per_page: number;
            sight: components["schemas"]["SightView"];
            total: number;
        };
        /**
         * ProgramRow
         * @description A running program and how it was built.
         */
        ProgramRow: {
            /** @enum {unknown} */
            canary: "no" | "partial" | "unknown" | "yes";
            executable: string;
            /** @enum {unknown} */
            fortify: "no" | "partial" | "unknown" | "yes";
            /** @enum {unknown} */
            network: "" | "all" | "lan" | "loopback";
            note: string;
            /** @enum {unknown} */
            nx: "no" | "partial" | "unknown" | "yes";
            package: string | null;
            /** @enum {unknown} */
            pie: "no" | "partial" | "unknown" | "yes";
            /** @enum {unknown} */
            relro: "no" | "partial" | "unknown" | "yes";
            users: string[];
        };
        /**
         * Proof
         * @description Where the machine's evidence stands in the owner's record.
         */
        Proof: {
            head_at: string | null;
            journal_head: string | null;
            last_leaf: number | null;
            last_sequence: number;
        };
        /**
         * ProofLine
         * @description A machine in a proof, and where in the record that stands which shows it.
         */
        ProofLine: {
            counter: number;
            device: string;
            last_heard_at: string | null;
            model: string;
            name: string;
            note: string;
            report: components["schemas"]["ProofReport"] | null;
            roster: number;
            simulated: boolean;
            site: string;
            /** @enum {unknown} */
            standing: "affected" | "retired" | "unknown" | "updated";
            version: string;
        };
        /**
         * ProofReport
         * @description A machine's report in the owner's record: `sha256` is of its bytes as they stand there.
         */
        ProofReport: {
            entry: number;
            generation: number;
            hash: string;
            sha256: string;
        };
        /**
         * PropertyView
         * @description One of the seven properties, with its evidence and one next step.
         */
        PropertyView: {
            evidence: components["schemas"]["EvidenceView"][];
            id: string;
            name: string;
            next: string;
            /** @enum {unknown} */
            state: "not_shown" | "not_visible" | "partly" | "shown";
        };
        /**
         * Reachability
         * @description How many ports answer, and to whom. Numbers are null when they are not visible.
         */
        Reachability: {
            as_of: string | null;
            lan: number | null;
            loopback: number | null;
            sockets_total: number | null;
            /** @enum {unknown} */
            state: "not_visible" | "shown";
            words: string;
        };
        /**
         * Reason
         * @description Why somebody does this; it stands in the record.
         */
        Reason: {
            reason: string;
        };
        /**
         * RecallAbout
         * @description What a recall is about, by what decides. No product: machines as they are; no ranges: every
         *         version; `all` machines, or those named.
         */
        RecallAbout: {
            machines: "all" | components["schemas"]["RecallMachines"];
            product: string;
            ranges: components["schemas"]["RecallRange"][];
        };
        /**
         * RecallBecause
         * @description Why somebody does something of a recall.
         */
        RecallBecause: {
            /** @default  */
            reason: string;
        };
        /**
         * RecallDay
         * @description One day of the history.
         */
        RecallDay: {
            affected: number;
            /** @example 2026-11-23T14:02:05.123Z */
            day: string;
            done: number;
            found: number;
            unknown: number;
        };
        /**
         * RecallDetail
         * @description A recall with a page of its machines, what is next, who was told, and what people did.
         */
        RecallDetail: {
            /** @example 2026-11-23T14:02:05.123Z */
            as_of: string;
            deeds: components["schemas"]["RolloutDeed"][];
            history: components["schemas"]["RecallDay"][];
            items: components["schemas"]["RecalledMachine"][];
            notices: components["schemas"]["NoticeRow"][];
            page: number;
            per_page: number;
            recall: components["schemas"]["RecallRow"];
            steps: components["schemas"]["NextStep"][];
            total: number;
        };
        /**
         * RecallForecast
         * @description What a recall would find. Nothing is stored.
         */
        RecallForecast: {
            headline: string;
            machines: string;
            tally: components["schemas"]["RecallTally"];
            versions: string[];
        };
        /**
         * RecallList
         * @description All recalls, newest first.
         */
        RecallList: {
            items: components["schemas"]["RecallRow"][];
        };
        /**
         * RecallMachines
         * @description Which machines can have it, by what the owner signed of them.
         */
        RecallMachines: {
            devices: string[];
            groups: string[];
            models: string[];
            sites: string[];
        };
        /**
         * RecallNote
         * @description What somebody says of machines of a recall. It proves nothing.
         */
        RecallNote: {
            devices: string[];
            words: string;
        };
        /**
         * RecallProof
         * @description A recall as it stands, for `fleetward recall verify` and the owner's own copy of the record.
         *
         *         Nothing in it is to be believed by itself.
         */
        RecallProof: {
            /** @example 2026-11-23T14:02:05.123Z */
            as_of: string;
            entries: number;
            /** @enum {unknown} */
            format: "fleetward-recall/1";
            generation: number;
            lines: components["schemas"]["ProofLine"][];
            owner_root: string;
            recall: string;
            roster: number;
            scope: components["schemas"]["RecallAbout"];
            /** @enum {unknown} */
            state: "cancelled" | "closed" | "open";
            tally: components["schemas"]["RecallTally"];
            title: string;
        };
        /**
         * RecallRange
         * @description Releases by their counters, both among them; `last` 0: all from `first` on.
         */
        RecallRange: {
            first: number;
            last: number;
        };
        /**
         * RecallRow
         * @description A recall and how it stands.
         */
        RecallRow: {
            about: string;
            acknowledged_at: string | null;
            acknowledged_by: string;
            acknowledged_words: string;
            advisories: string[];
            /** @example 2026-11-23T14:02:05.123Z */
            changed_at: string;
            /** @example 2026-11-23T14:02:05.123Z */
            created_at: string;
            created_by: string;
            fix_version: string;
            headline: string;
            id: string;
            machines: string;
            /** @example 2026-11-23T14:02:05.123Z */
            opened_at: string;
            overdue: boolean;
            product: string;
            /** @enum {unknown} */
            remedy: "disable" | "patch" | "stop";
            remedy_words: string;
            /** @enum {unknown} */
            state: "cancelled" | "closed" | "open";
            tally: components["schemas"]["RecallTally"];
            title: string;
            until: string | null;
            versions: string;
            why: string;
            words: string;
        };
        /**
         * RecallTally
         * @description How many machines a recall found, and how they stand.
         */
        RecallTally: {
            affected: number;
            found: number;
            retired: number;
            silent: number;
            unknown: number;
            updated: number;
        };
        /**
         * RecalledMachine
         * @description A machine of a recall.
         */
        RecalledMachine: {
            connected: boolean;
            device_id: string;
            done_at: string | null;
            /** @example 2026-11-23T14:02:05.123Z */
            found_at: string;
            found_version: string;
            last_heard_at: string | null;
            model: string;
            name: string;
            note: string;
            note_at: string | null;
            note_by: string;
            proof: string;
            quarantined: boolean;
            report: string;
            said_at: string | null;
            simulated: boolean;
            site: string;
            /** @enum {unknown} */
            standing: "affected" | "retired" | "unknown" | "updated";
            version: string;
        };
        /**
         * Record
         * @description The record as the Proof page shows it.
         */
        Record: {
            as_of: string | null;
            checkpoint: string | null;
            devices: components["schemas"]["RecordDevice"][];
            generation: number;
            owner_root: string;
            size: number;
            /** @enum {unknown} */
            state: "broken" | "intact" | "unknown";
            witnesses: components["schemas"]["WitnessRow"][];
            words: string;
        };
        /**
         * RecordDevice
         * @description How old the newest signed head of a machine is.
         */
        RecordDevice: {
            age_seconds: number | null;
            head_at: string | null;
            id: string;
            name: string;
        };
        /**
         * RecordEntries
         * @description A page of the record, newest first.
         */
        RecordEntries: {
            items: components["schemas"]["RecordEntry"][];
            page: number;
            per_page: number;
            total: number;
        };
        /**
         * RecordEntry
         * @description One deed or document in the owner's record.
         */
        RecordEntry: {
            actor: string;
            at: string;
            generation: number;
            index: number;
            kind: string;
            subject: string;
            words: string;
        };
        /**
         * RecordState
         * @description Whether the record is whole, as of the server's own last check.
         */
        RecordState: {
            as_of: string | null;
            size: number;
            /** @enum {unknown} */
            state: "broken" | "intact" | "unknown";
            words: string;
        };
        /**
         * RecoveryList
         * @description Every recovery that waits, oldest first.
         */
        RecoveryList: {
            items: components["schemas"]["RecoveryRow"][];
        };
        /**
         * RecoveryRow
         * @description A recovery that waits. Verify `policy`; do not trust the server.
         *
         *         `earliest_at` is when a machine that heard of it at once, and was on all the time, may take it.
         */
        RecoveryRow: {
            announced_at: string;
            earliest_at: string;
            hash: string;
            people: string[];
            policy: string;
            version: number;
        };
        /**
         * RecoverySubmitted
         * @description A policy that recovery keys signed, base64url.
         */
        RecoverySubmitted: {
            policy: string;
        };
        /**
         * ReleaseDetail
         * @description A release with its manifest, base64url, for the owner's tool to verify.
         */
        ReleaseDetail: {
            added: string[];
            approvals: components["schemas"]["ApprovalRow"][];
            before: string;
            changed: string[];
            components: number | null;
            manifest: string;
            release: components["schemas"]["ReleaseRow"];
            removed: string[];
        };
        /**
         * ReleaseDevice
         * @description A machine that says of itself that it runs a release, or tried to.
         */
        ReleaseDevice: {
            cause: string;
            device_id: string;
            name: string;
            /** @enum {unknown} */
            outcome: "" | "accepted" | "committed" | "failed" | "installed" | "refused" | "rolled_back";
            runs: boolean;
            said_at: string | null;
            simulated: boolean;
            site: string;
            version: string;
            words: string;
        };
        /**
         * ReleaseDevices
         * @description A page of the machines that run a release, or tried to, by reports that they signed.
         */
        ReleaseDevices: {
            failed: number;
            items: components["schemas"]["ReleaseDevice"][];
            page: number;
            per_page: number;
            runs: number;
            total: number;
        };
        /**
         * ReleaseList
         * @description All releases, newest first.
         */
        ReleaseList: {
            items: components["schemas"]["ReleaseRow"][];
        };
        /**
         * ReleaseRow
         * @description A release that was published here. Whether its maker signed it, the owner's tools verify.
         */
        ReleaseRow: {
            approvals: number;
            counter: number;
            fixes: string[];
            hardware: string[];
            id: string;
            installed: number;
            notes: string;
            offerable: boolean;
            path: string;
            product: string;
            /** @example 2026-11-23T14:02:05.123Z */
            published_at: string;
            reboot: boolean;
            /** @example 2026-11-23T14:02:05.123Z */
            released_at: string;
            repository: string;
            rollouts: number;
            size_bytes: number;
            support_ends_at: string | null;
            version: string;
        };
        /**
         * ReportRow
         * @description A report, signed by the machine: verified with its identity key when it came.
         */
        ReportRow: {
            /** @example 2026-11-23T14:02:05.123Z */
            at: string;
            attempt: number;
            cause: string;
            findings: components["schemas"]["FindingRow"][];
            id: string;
            /** @enum {unknown} */
            outcome: "" | "accepted" | "committed" | "failed" | "installed" | "refused" | "rolled_back";
            product: string;
            report: string;
            rule: string;
            /** @example 2026-11-23T14:02:05.123Z */
            said_at: string;
            simulated: boolean;
            version: string;
            words: string;
        };
        /**
         * RepositoryStored
         * @description The repository: the SHA-256 of its first root.
         */
        RepositoryStored: {
            repository: string;
        };
        /**
         * RoleWish
         * @description Another role for somebody.
         */
        RoleWish: {
            /** @enum {unknown} */
            role: "admin" | "operator" | "viewer";
        };
        /**
         * RolloutDeed
         * @description What somebody did of a rollout, as it stands in the record.
         */
        RolloutDeed: {
            /** @example 2026-11-23T14:02:05.123Z */
            at: string;
            kind: string;
            who: string;
            words: string;
        };
        /**
         * RolloutDetail
         * @description A rollout with a page of its machines, and what people did of it, newest first.
         */
        RolloutDetail: {
            deeds: components["schemas"]["RolloutDeed"][];
            items: components["schemas"]["RolloutPart"][];
            page: number;
            per_page: number;
            rollout: components["schemas"]["RolloutRow"];
            total: number;
        };
        /**
         * RolloutForecast
         * @description What a rollout would be.
         */
        RolloutForecast: {
            already: number;
            approved: number;
            machines: number;
            promise: number;
            promise_words: string;
            stages: components["schemas"]["StageRow"][];
        };
        /**
         * RolloutList
         * @description All rollouts, newest first.
         */
        RolloutList: {
            items: components["schemas"]["RolloutRow"][];
        };
        /**
         * RolloutPart
         * @description A machine that was let in.
         */
        RolloutPart: {
            cause: string;
            device_id: string;
            ended_at: string | null;
            name: string;
            offered_at: string | null;
            /** @example 2026-11-23T14:02:05.123Z */
            placed_at: string;
            site: string;
            /** @enum {unknown} */
            state: "accepted" | "committed" | "failed" | "installed" | "offered" | "passed" | "placed" | "refused" | "rolled_back";
            wave: number;
            words: string;
        };
        /**
         * RolloutRow
         * @description A rollout and how it stands.
         */
        RolloutRow: {
            allowed_failures: number;
            bandwidth: number;
            canaries: string;
            /** @example 2026-11-23T14:02:05.123Z */
            changed_at: string;
            counts: {
                [key: string]: number;
            };
            /** @example 2026-11-23T14:02:05.123Z */
            created_at: string;
            created_by: string;
            exposure: number;
            failures: components["schemas"]["FailureCause"][];
            forgiven_failures: number;
            id: string;
            machines: number;
            offered: number;
            product: string;
            promise: number;
            promise_words: string;
            release: string;
            selector: string;
            soak_seconds: number;
            stages: components["schemas"]["StageRow"][];
            /** @enum {unknown} */
            state: "cancelled" | "done" | "held" | "paused" | "running";
            version: string;
            waits: string;
            words: string;
        };
        /**
         * ScopeBody
         * @description The part of the fleet that a token may see: devices at these sites, and these devices.
         */
        ScopeBody: {
            /** @default [] */
            devices: string[];
            /** @default [] */
            sites: string[];
        };
        /**
         * ServiceList
         * @description A page of services.
         */
        ServiceList: {
            as_of: string | null;
            items: components["schemas"]["ServiceRow"][];
            page: number;
            per_page: number;
            sight: components["schemas"]["SightView"];
            total: number;
        };
        /**
         * ServiceRow
         * @description A service and what stands between it and the rest of the machine.
         */
        ServiceRow: {
            enabled: boolean | null;
            executable: string | null;
            layers: components["schemas"]["LayersView"];
            package: string | null;
            /** @enum {unknown} */
            state: "running" | "stopped";
            unit: string;
            user: string | null;
        };
        /**
         * SessionChanges
         * @description What changed on a machine during a session, as the machine says. `here` says that its
         *         document has come; the owner's tools compare it with the receipt. `left` are changes that are
         *         not listed here, `notes` say what was not looked at.
         */
        SessionChanges: {
            change_count: number;
            changes: components["schemas"]["ChangeView"][];
            digest: string;
            finding_count: number;
            findings: components["schemas"]["FindingView"][];
            here: boolean;
            left: number;
            notes: string[];
            words: string;
        };
        /**
         * SessionOpened
         * @description A session with its secret, which is shown this once.
         */
        SessionOpened: {
            /** @example 2026-11-23T14:02:05.123Z */
            expires_at: string;
            passkey: components["schemas"]["PasskeyState"];
            passkey_only: boolean;
            person: components["schemas"]["PersonShort"];
            token: string;
        };
        /**
         * SessionShown
         * @description The session or token behind the request.
         */
        SessionShown: {
            expires_at: string | null;
            kind: string;
            passkey: components["schemas"]["PasskeyState"];
            passkey_only: boolean;
            person: components["schemas"]["PersonShort"];
        };
        /**
         * Sight
         * @description How much of itself a machine can see. `root` is null before it reported.
         */
        Sight: {
            root: boolean | null;
            words: string;
        };
        /**
         * SightView
         * @description How much of a group was seen, and why not more.
         */
        SightView: {
            /** @enum {unknown} */
            level: "full" | "none" | "partial";
            words: string;
        };
        /**
         * Signed
         * @description A signed envelope, base64url.
         */
        Signed: {
            envelope: string;
        };
        /**
         * SignedClosing
         * @description A signed document, base64url.
         */
        SignedClosing: {
            envelope: string;
        };
        /**
         * SignedPage
         * @description A page of signed batches, by machine.
         */
        SignedPage: {
            items: components["schemas"]["SignedRow"][];
            page: number;
            per_page: number;
            total: number;
        };
        /**
         * SignedPaper
         * @description An approval or a withdrawal that the owner's people signed, base64url.
         */
        SignedPaper: {
            envelope: string;
        };
        /**
         * SignedRow
         * @description The newest batch of a machine in which an entry of a kind stands; `batch` is base64url.
         *
         *         Verify it by the machine's key; do not trust the server.
         */
        SignedRow: {
            batch: string;
            device_id: string;
            sequence: number;
        };
        /**
         * SiteRow
         * @description A site with its machines counted.
         */
        SiteRow: {
            fine: number;
            need_you: number;
            silent: number;
            site: string;
            total: number;
        };
        /**
         * Sites
         * @description All sites.
         */
        Sites: {
            items: components["schemas"]["SiteRow"][];
        };
        /**
         * SocketList
         * @description A page of sockets.
         */
        SocketList: {
            as_of: string | null;
            items: components["schemas"]["SocketRow"][];
            page: number;
            per_page: number;
            sight: components["schemas"]["SightView"];
            total: number;
        };
        /**
         * SocketRow
         * @description A listening socket; null is not visible.
         */
        SocketRow: {
            address: string;
            executable: string | null;
            /** @enum {unknown} */
            exposure: "all" | "lan" | "loopback";
            package: string | null;
            port: number;
            process: string | null;
            proto: string;
            unit: string | null;
            user: string | null;
        };
        /**
         * Software
         * @description What runs here and what waits. Numbers are null when they are not visible.
         */
        Software: {
            as_of: string | null;
            inventory_digest: string | null;
            kernel: string;
            os: string;
            packages: number | null;
            pending: number | null;
            security: number | null;
            words: string;
        };
        /**
         * StageRow
         * @description Canaries, or a wave.
         */
        StageRow: {
            limit: number | null;
            open: boolean;
            words: string;
        };
        /**
         * StandingEntry
         * @description Somebody came by a window of it. `window` counts from 0.
         */
        StandingEntry: {
            device_id: string;
            request: string;
            session: string;
            state: string;
            window: number;
        };
        /**
         * StandingList
         * @description Permissions given ahead, the newest first; at most 200.
         */
        StandingList: {
            items: components["schemas"]["StandingRow"][];
        };
        /**
         * StandingMachine
         * @description A machine of a permission, and what it has signed about it last.
         *
         *         `state` is empty before it has said anything, then `held`, `dropped` (its owner's policy does
         *         not permit it) or `revoked`. `next_window` is the lowest window that it may still open, from 0.
         *         `signed` is its signed word, base64url; verify it.
         */
        StandingMachine: {
            device_id: string;
            device_name: string;
            next_window: number;
            said_at: string | null;
            signed: string;
            site: string;
            state: string;
            words: string;
        };
        /**
         * StandingRow
         * @description A permission given ahead, as its signed document says; this server judges none of it.
         *
         *         `id` is its hash, `words` the six words of it. `people` are those whose keys signed it, and
         *         `requesters` who may come by it, by the stored policy. `envelope` and `stop` (base64url; empty
         *         while nobody has taken it back) are the signed documents: verify them.
         */
        StandingRow: {
            entries: components["schemas"]["StandingEntry"][];
            envelope: string;
            id: string;
            /** @example 2026-11-23T14:02:05.123Z */
            issued_at: string;
            machines: components["schemas"]["StandingMachine"][];
            people: string[];
            reason: string;
            requesters: string[];
            revoked_at: string | null;
            scopes: string[];
            seconds: number;
            stop: string;
            /** @example 2026-11-23T14:02:05.123Z */
            stored_at: string;
            time_zone: string;
            watched: boolean;
            windows: components["schemas"]["StandingWindow"][];
            words: string;
        };
        /**
         * StandingWindow
         * @description One window.
         */
        StandingWindow: {
            /** @example 2026-11-23T14:02:05.123Z */
            not_after: string;
            /** @example 2026-11-23T14:02:05.123Z */
            not_before: string;
        };
        /**
         * StoredDocuments
         * @description Owner documents as this server holds them. Verify them; do not trust the server.
         */
        StoredDocuments: {
            entries: string[];
            head: string;
            issuing_chain: string;
            lease: string;
            name: string;
            owner_root: string;
            policies: string[];
            root: string;
            roster: string;
        };
        /**
         * Taken
         * @description The envelope is stored, or on its way. The machine decides what it does.
         */
        Taken: {
            id: string;
            /** @enum {unknown} */
            state: "asked" | "denied" | "ended" | "granted" | "offered" | "open" | "stopped";
        };
        /**
         * TierRow
         * @description One of the three tiers: `yes`, `no`, `unknown` or `stale`, why, and as of when.
         */
        TierRow: {
            as_of: string | null;
            number: number;
            /** @enum {unknown} */
            state: "no" | "stale" | "unknown" | "yes";
            title: string;
            words: string;
        };
        /**
         * Timeline
         * @description A page of the timeline, newest first.
         */
        Timeline: {
            items: components["schemas"]["TimelineItem"][];
            page: number;
            per_page: number;
            total: number;
        };
        /**
         * TimelineItem
         * @description A change or a deed; heartbeats are no entries.
         */
        TimelineItem: {
            /** @example 2026-11-23T14:02:05.123Z */
            at: string;
            device_id: string | null;
            device_name: string | null;
            kind: string;
            leaf: number | null;
            sequence: number | null;
            /**
             * @default normal
             * @enum {unknown}
             */
            severity: "critical" | "normal";
            /** @enum {unknown} */
            source: "machine" | "record";
            words: string;
        };
        /**
         * Today
         * @description The first page.
         */
        Today: {
            /** @example 2026-11-23T14:02:05.123Z */
            as_of: string;
            cards: components["schemas"]["Card"][];
            changes: components["schemas"]["ChangeItem"][];
            counts: components["schemas"]["Counts"];
            first_run: boolean;
            record: components["schemas"]["RecordState"];
            sentence: string;
            waiting: components["schemas"]["WaitingItem"][];
        };
        /**
         * TokenMade
         * @description A token with its secret, which is shown this once.
         */
        TokenMade: {
            /** @example 2026-11-23T14:02:05.123Z */
            expires_at: string;
            id: string;
            token: string;
        };
        /**
         * TokenRow
         * @description A token, without its secret.
         */
        TokenRow: {
            /** @example 2026-11-23T14:02:05.123Z */
            created_at: string;
            /** @example 2026-11-23T14:02:05.123Z */
            expires_at: string;
            id: string;
            last_used_at: string | null;
            name: string;
            /** @enum {unknown} */
            role: "admin" | "operator" | "viewer";
            scope: components["schemas"]["ScopeBody"] | null;
        };
        /**
         * TokenWish
         * @description A token to make.
         */
        TokenWish: {
            name: string;
            /** @enum {unknown} */
            role: "admin" | "operator" | "viewer";
            /** @default null */
            scope: components["schemas"]["ScopeBody"] | null;
            ttl_seconds: number;
        };
        /**
         * Tour
         * @description Where the tour stands, and what its pages need to name.
         */
        Tour: {
            done: number[];
            facts: components["schemas"]["TourFacts"];
            goal: string | null;
            step: number;
        };
        /**
         * TourFacts
         * @description What the demo left for the tour: machines and commands. Every one of them may be missing.
         */
        TourFacts: {
            /** @default null */
            alter_command: string | null;
            /** @default null */
            close_port_command: string | null;
            /** @default null */
            connect_command: string | null;
            /** @default null */
            device_id: string | null;
            /** @default null */
            export_command: string | null;
            /** @default null */
            invite_command: string | null;
            /** @default null */
            join_command: string | null;
            /** @default null */
            open_port_command: string | null;
            /** @default null */
            owner_console_command: string | null;
            /** @default null */
            panel_command: string | null;
            /** @default null */
            release_command: string | null;
            /** @default null */
            replay_command: string | null;
            /** @default null */
            reset_command: string | null;
            /** @default null */
            stop_command: string | null;
            /** @default null */
            verify_command: string | null;
            /** @default null */
            waiting_device_id: string | null;
        };
        /**
         * TourWish
         * @description Where the tour goes on, what was done, and what the reader wants first.
         */
        TourWish: {
            /** @default null */
            done: number | null;
            /** @default null */
            goal: ("comply" | "protect" | "reach" | "update") | null;
            /** @default false */
            restart: boolean;
            /** @default null */
            step: number | null;
        };
        /**
         * Trust
         * @description What proves this machine's identity, and since when that is known.
         */
        Trust: {
            as_of: string | null;
            level: string;
            words: string;
        };
        /**
         * UpdatesOverview
         * @description Updates at a glance.
         */
        UpdatesOverview: {
            /** @example 2026-11-23T14:02:05.123Z */
            as_of: string;
            current: number;
            failures: components["schemas"]["ProductFailure"][];
            machines: number;
            makers: string[];
            products: components["schemas"]["ProductOverview"][];
            rollouts: components["schemas"]["RolloutRow"][];
        };
        /**
         * UserList
         * @description A page of accounts.
         */
        UserList: {
            as_of: string | null;
            items: components["schemas"]["UserRow"][];
            page: number;
            per_page: number;
            sight: components["schemas"]["SightView"];
            total: number;
        };
        /**
         * UserRow
         * @description An account with a login shell.
         */
        UserRow: {
            administrator: boolean;
            can_log_in: boolean;
            keys: number | null;
            name: string;
            /** @enum {unknown} */
            password: "empty" | "locked" | "not_visible" | "set";
            shell: string;
            uid: number;
        };
        /**
         * Verb
         * @description The one thing to do about a card.
         */
        Verb: {
            href: string;
            label: string;
        };
        /**
         * WaitingItem
         * @description Something that waits for somebody else.
         */
        WaitingItem: {
            id: string;
            /** @example 2026-11-23T14:02:05.123Z */
            since: string;
            title: string;
            where: string;
        };
        /**
         * WitnessRow
         * @description A witness of the owner's policy, and what it signed last.
         */
        WitnessRow: {
            at: string | null;
            name: string;
            size: number | null;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
