import type { components } from './schema';

/** What the server's API says, under the names that the pages use. Every type comes from its description. */

type Schemas = components['schemas'];

/** A time is RFC 3339 text in UTC. */
export type Time = Schemas['Today']['as_of'];

/** A page of a list; every list has the same frame. */
export type Page<Item> = Omit<Schemas['DevicePage'], 'items'> & { items: Item[] };

/** A paged list of one device's facts, with its age and how much of it was seen. */
export type FactPage<Item> = Omit<Schemas['PackageList'], 'items'> & { items: Item[] };

/** What stands in front of the server may answer too, so every field may be missing. */
export type Problem = Partial<Schemas['Problem']>;

export type Person = Schemas['PersonShort'];
export type Role = Person['role'];
export type Session = Pick<Schemas['SessionShown'], 'person' | 'expires_at' | 'passkey' | 'passkey_only'>;
export type OpenedSession = Schemas['SessionOpened'];
/** The options of a passkey ceremony, in WebAuthn's JSON form. */
export type Ceremony = Schemas['CeremonyShown'];

export type PersonRow = Schemas['PersonRow'];
export type PersonWish = Schemas['PersonWish'];
export type LinkMade = Schemas['LinkMade'];
export type Token = Schemas['TokenRow'];
export type TokenWish = Pick<Schemas['TokenWish'], 'name' | 'role' | 'ttl_seconds'>;
export type CreatedToken = Schemas['TokenMade'];

export type Today = Schemas['Today'];
export type Card = Schemas['Card'];

export type DeviceRow = Schemas['DeviceRow'];
export type DeviceState = DeviceRow['state'];
export type Connection = DeviceRow['connection'];
export type Site = Schemas['SiteRow'];
export type Sites = Schemas['Sites'];

export type Device = Schemas['Device'];
export type Property = Schemas['PropertyView'];
export type PropertyState = Property['state'];

export type PackageRow = Schemas['PackageRow'];
export type SocketRow = Schemas['SocketRow'];
export type UserRow = Schemas['UserRow'];
export type ServiceRow = Schemas['ServiceRow'];
/** Layers of defence around a service; null is not visible. */
export type Layers = Schemas['LayersView'];
export type ProgramRow = Schemas['ProgramRow'];
export type Built = ProgramRow['canary'];
export type FactRow = Schemas['FactRow'];
export type HistoryItem = Schemas['TimelineItem'];

export type DeviceUpdates = Schemas['DeviceUpdates'];
/** What a machine signed about a release. */
export type UpdateReport = Schemas['ReportRow'];

/** A request to enter a device, and what became of it. */
export type AccessRow = Schemas['AccessRow'];
export type AccessState = AccessRow['state'];
export type AccessDetail = Schemas['AccessDetail'];
export type AccessStep = Schemas['AccessStep'];
/** What the owner's people allowed ahead, as this server has it. */
export type AheadRow = Schemas['StandingRow'];
export type AheadList = Schemas['StandingList'];

export type LogRecord = Schemas['Record'];
export type RecordState = LogRecord['state'];
export type PendingDevice = Schemas['PendingDevice'];
export type PendingDevices = Schemas['PendingDevices'];

export type Drill = Schemas['DrillView'];
export type DrillStep = Schemas['DrillStep'];
export type Doctor = Schemas['Doctor'];

/** The tour: where it stands, and what its pages need to name. Every fact may be missing. */
export type Tour = Schemas['Tour'];
export type TourWish = Partial<Schemas['TourWish']>;

/** A machine's three tiers, what waits on its ports, and what is closed there. */
export type MachineClosing = Schemas['MachineClosing'];
export type TierRow = Schemas['TierRow'];

/** What is newest, who is behind, and what rolls out. */
export type UpdatesOverview = Schemas['UpdatesOverview'];
export type ProductOverview = Schemas['ProductOverview'];
export type ProductFailure = Schemas['ProductFailure'];
/** A release as it is stored; whether its maker signed it, the owner's tools and machines verify. */
export type ReleaseRow = Schemas['ReleaseRow'];
export type ReleaseList = Schemas['ReleaseList'];
export type ReleaseDetail = Schemas['ReleaseDetail'];
export type ReleaseDevice = Schemas['ReleaseDevice'];
export type ReleaseDevices = Schemas['ReleaseDevices'];
export type ApprovalRow = Schemas['ApprovalRow'];
export type Rollout = Schemas['RolloutRow'];
export type RolloutState = Rollout['state'];
export type RolloutList = Schemas['RolloutList'];
export type RolloutDetail = Schemas['RolloutDetail'];
export type RolloutDeed = Schemas['RolloutDeed'];
export type RolloutPart = Schemas['RolloutPart'];
export type PartState = RolloutPart['state'];
export type RolloutForecast = Schemas['RolloutForecast'];
export type Stage = Schemas['StageRow'];
export type FailureCause = Schemas['FailureCause'];
export type Selector = Schemas['MachineSelector'];
export type RolloutWish = Schemas['NewRollout'];
export type Recall = Schemas['RecallRow'];
export type RecallList = Schemas['RecallList'];
export type RecallDetail = Schemas['RecallDetail'];
export type RecalledMachine = Schemas['RecalledMachine'];
export type Standing = RecalledMachine['standing'];
export type RecallWish = Schemas['NewRecall'];
export type RecallForecast = Schemas['RecallForecast'];
export type NextStep = Schemas['NextStep'];
export type ProductOnDevice = Schemas['ProductOnDevice'];
export type Outcome = UpdateReport['outcome'];
