import '../shared/security/trustedTypes';
import '../shared/theme/base.css';
import '@mantine/core/styles.layer.css';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { reloadWhenAddressBrings } from '../shared/security/addressSecret';
import { prepareStyleNonce } from '../shared/security/nonce';
import { Look } from '../shared/theme/Look';
import { isPhoneDoor, takeSecretFromAddress } from '../api/ownerClient';
import { App } from './App';
import { PhoneApp } from './phone/PhoneApp';

document.documentElement.dataset.program = 'owner';
prepareStyleNonce();
takeSecretFromAddress();
reloadWhenAddressBrings('secret');
reloadWhenAddressBrings('code');

const root = document.getElementById('root');
if (root) {
  createRoot(root).render(
    <StrictMode>
      <Look program="owner">
        {isPhoneDoor() ? <PhoneApp /> : <App />}
      </Look>
    </StrictMode>,
  );
}
